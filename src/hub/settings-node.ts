/**
 * @file The folder of the Hugging Face cache, and the access token: the same variables as Python's huggingface_hub
 * reads.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { HubError } from '../util/errors.ts';
import { homeFolder } from '../util/files/home-node.ts';

/** Environment variables; `process.env` fits. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What the caller sets; everything else comes from the environment. */
export interface HubSettingsOptions {
  readonly cacheDir?: string;
  /** An access token, or false to send none. */
  readonly token?: string | false;
  readonly endpoint?: string;
  readonly offline?: boolean;
  readonly env?: Environment;
}

/** The settings in force. */
export interface HubSettings {
  readonly cacheDir: string;
  readonly token: string | undefined;
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly offline: boolean;
}

/**
 * Reads the settings; the environment is looked at now, not at import.
 *
 * @throws HubError for an endpoint that is no http(s) address, or a token that can't be sent in a header; InputError
 * where no folder is named and there is no home folder.
 */
export async function readHubSettings(options: HubSettingsOptions): Promise<HubSettings> {
  const env = options.env ?? process.env;
  // Looked for only where it is needed: not every user has a home folder.
  const home = () =>
    expand(env['HF_HOME']) ?? join(expand(env['XDG_CACHE_HOME']) ?? join(homeFolder(), '.cache'), 'huggingface');
  const cacheDir =
    options.cacheDir ?? expand(env['HF_HUB_CACHE']) ?? expand(env['HUGGINGFACE_HUB_CACHE']) ?? join(home(), 'hub');
  const endpoint = (options.endpoint ?? nonEmpty(env['HF_ENDPOINT']) ?? 'https://huggingface.co').replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new HubError(
      `the endpoint ${JSON.stringify(endpoint)} is not an http(s) address; set HF_ENDPOINT or "endpoint"`,
    );
  }
  return {
    cacheDir: resolve(cacheDir),
    token: await readToken(options.token, env, home),
    endpoint,
    offline: options.offline ?? (isTrue(env['HF_HUB_OFFLINE']) || isTrue(env['TRANSFORMERS_OFFLINE'])),
  };
}

async function readToken(
  given: string | false | undefined,
  env: Environment,
  home: () => string,
): Promise<string | undefined> {
  if (given === false) return undefined;
  let token = given ?? nonEmpty(env['HF_TOKEN']) ?? nonEmpty(env['HUGGING_FACE_HUB_TOKEN']);
  let from = given === undefined ? 'HF_TOKEN' : 'the option "token"';
  if (token === undefined) {
    try {
      from = expand(env['HF_TOKEN_PATH']) ?? join(home(), 'token');
      token = await readFile(from, 'utf8');
    } catch {
      // Most people have no such file, and one that can't be read is no reason to fail on public models.
    }
  }
  token = nonEmpty(token);
  // The token itself stays out of the message.
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new HubError(`the access token from ${from} contains characters that no token has; set it anew`);
  }
  return token;
}

function nonEmpty(text: string | undefined): string | undefined {
  const trimmed = text?.trim();
  return trimmed === '' ? undefined : trimmed;
}

function expand(path: string | undefined): string | undefined {
  const given = nonEmpty(path);
  return given !== undefined && /^~(?=$|[/\\])/.test(given) ? join(homeFolder(), given.slice(1)) : given;
}

function isTrue(text: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(text ?? '');
}
