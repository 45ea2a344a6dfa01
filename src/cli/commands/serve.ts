/**
 * @file `keyhold serve`: a server of OpenAI's and Anthropic's protocols.
 */
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CacheClass } from '../../server/cache-classes.ts';
import type { OnDemandModel } from '../../server/model-entry.ts';
import { readOrigin } from '../../server/origins.ts';
import type { Log } from '../../server/routes/answer-route.ts';
import type { ServedEncoder } from '../../server/routes/embeddings.ts';
import type { ServedReranker } from '../../server/routes/rerank.ts';
import type { SessionStore } from '../../server/sessions/sessions.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  addModelArgument,
  asUsage,
  type CacheFlags,
  cacheOptions,
  notEmpty,
  optionsForWorker,
  readBytes,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { makeFolderFor } from '../input/targets.ts';
import { type CliIo, tell } from '../io.ts';
import {
  type CommonSettings,
  onDemandModel,
  openEncoder,
  openReranker,
  type ServerFlags,
} from '../models/model-entries.ts';
import {
  classOptions,
  type ModelsFlag,
  modelSettings,
  type NamedSettings,
  readModels,
} from '../models/served-models.ts';

interface ServeFlags extends ServerFlags, CacheFlags {
  readonly host: string;
  readonly port: number;
  readonly name?: string;
  readonly embeddings?: string;
  readonly rerank?: string;
  readonly models?: readonly ModelsFlag[];
  readonly apiKey?: readonly string[];
  /** false: --no-keys. */
  readonly keys: boolean;
  readonly sessionDir?: string;
  readonly cacheClass?: readonly CacheClass[];
  readonly openMetrics?: boolean;
  readonly cors?: readonly string[];
  readonly quiet?: boolean;
}

export function addServe(program: Command, io: CliIo, version: string): void {
  const command = program
    .command('serve')
    .summary('serve a model over HTTP, in OpenAI’s and Anthropic’s protocols')
    .description(
      'Serves a model over HTTP. OpenAI’s protocol: /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings, ' +
        '/v1/models. Anthropic’s protocol: /v1/messages. Others: /v1/rerank, /tokenize, /metrics, /health. Requests share their steps. ' +
        'A request with the header X-Session-Id goes on from the cache of that session. After Ctrl-C, answers in progress are ' +
        'finished before the server ends.',
    )
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(new Option('--port <n>', 'port to listen on; 0: any that is free').argParser(wholeFrom(0)).default(8080))
    .addOption(
      new Option(
        '--models <file|name=model>',
        'several models: a .json file, or a name and a model; may be given several times',
      ).argParser(readModels),
    )
    .option('--embeddings <model>', 'a model that embeds texts, for /v1/embeddings', notEmpty)
    .option('--rerank <model>', 'a model that ranks texts, for /v1/rerank and /v1/score', notEmpty)
    .option('--name <name>', 'what clients call the model (default: its own name)', notEmpty)
    .addOption(
      new Option(
        '--api-key <key>',
        'a key that clients must send; may be given several times (also: KEYHOLD_API_KEY)',
      ).argParser((text: string, before: readonly string[] = []) => [...before, notEmpty(text)]),
    )
    .option('--no-keys', 'serve other machines without keys')
    .addOption(
      new Option('--parallel <n>', 'most requests that are answered at the same time')
        .argParser(wholeFrom(1))
        .default(8),
    )
    .addOption(new Option('--queue <n>', 'most requests that wait').argParser(wholeFrom(0)).default(64))
    .addOption(new Option('--max-tokens <n>', 'most tokens of an answer').argParser(wholeFrom(1)).default(4096))
    .addOption(
      new Option('--sessions <n>', 'most caches in memory between requests').argParser(wholeFrom(0)).default(16),
    )
    .addOption(
      new Option(
        '--cache-memory <size>',
        'memory of all caches, such as 8GB, or a part of the memory that is free at the start; requests wait for it',
      )
        .argParser(readBytes)
        .default('50%'),
    )
    .option(
      '--session-dir <folder>',
      'a folder or s3://BUCKET/PREFIX for the caches of sessions: those that leave the memory, and all when the server ends',
    )
    .addOption(
      new Option(
        '--cache-class <name=policy:length[:buffer]>',
        'a further kind of cache, which requests choose by the field "cache"; may be given several times',
      ).argParser(readClass),
    )
    .option('--open-metrics', '/metrics needs no key: Prometheus often has none')
    .addOption(
      new Option(
        '--cors <origin>',
        'pages of this origin may call the server, such as https://example.org; *: all pages; may be given several times',
      ).argParser((text: string, before: readonly string[] = []) => [
        ...before,
        asUsage(() => readOrigin(text), '--cors: '),
      ]),
    )
    .option('-q, --quiet', 'no log');
  addModelArgument(command);
  addLoadOptions(command);
  addCacheOptions(command);
  addHubOptions(command);
  command.action((model: string | undefined, flags: ServeFlags) =>
    serveModels(checkFlags(command, withModel(command, model, flags), model), version, io),
  );
  addExamples(command, [
    ['the small model that ships with keyhold', 'keyhold serve'],
    ['contexts of any length in 2,048 slots', 'keyhold serve Qwen/Qwen3-0.6B -p h2o -c 2048'],
    ['two models', 'keyhold serve --models small=Qwen/Qwen3-0.6B --models large=Qwen/Qwen3-4B'],
    ['for other machines', 'KEYHOLD_API_KEY=secret keyhold serve Qwen/Qwen3-0.6B --host 0.0.0.0'],
  ]);
}

function readClass(text: string, before: readonly CacheClass[] = []): CacheClass[] {
  const [, name, policy, length, buffer] = /^([\w-]+)=([^:]+):(\d+)(?::([\w-]+))?$/.exec(text) ?? [];
  if (name === undefined)
    throw new InvalidArgumentError(
      'It must be a name, a policy and a length, such as long=h2o:2048 or long=h2o:2048:int8.',
    );
  if (name === 'default' || before.some((each) => each.name === name))
    throw new InvalidArgumentError(`There is a class "${name}" already.`);
  return [
    ...before,
    { name, options: { policy, cacheLength: Number(length), ...(buffer ? { buffer } : {}) } as CacheClass['options'] },
  ];
}

/** @throws UsageError for what can't be said of several models. */
function checkFlags(command: Command, flags: ServeFlags, argument: string | undefined): ServeFlags {
  if (flags.models === undefined) return flags;
  const isSaid = (name: string) => command.getOptionValueSource(name) === 'cli';
  const single = [
    ...(argument === undefined ? [] : ['a model as argument']),
    ...['model', 'name', 'adapter', 'revision'].filter(isSaid).map((name) => `--${name}`),
  ];
  if (single.length > 0)
    throw new UsageError(
      `${single.join(', ')}: not together with --models; say it in the file, of the model it is for`,
    );
  return flags;
}

async function serveModels(flags: ServeFlags, version: string, io: CliIo): Promise<void> {
  const { serve } = await import('../../exports/server.ts');
  const cacheClasses = await readClasses(flags);
  const all = await namedSettings(flags, io.env);
  const store = flags.sessionDir === undefined ? null : await sessionStore(flags.sessionDir, io.env);
  const log: Log = (entry) => {
    if (!flags.quiet) io.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
  };
  const sharing = all.filter((each) => !each.embeddings && !each.rerank).length;
  const common: CommonSettings = { flags, io, cacheClasses, sharing, store, log };
  const models: OnDemandModel[] = [];
  const encoders: ServedEncoder[] = [];
  const rerankers: ServedReranker[] = [];
  const loaded: { dispose(): Promise<void> }[] = [];
  try {
    for (const settings of all) {
      if (settings.embeddings) {
        const { model, served } = await openEncoder(settings, common);
        loaded.push(model);
        encoders.push(served);
        continue;
      }
      if (settings.rerank) {
        const { model, served } = await openReranker(settings, common);
        loaded.push(model);
        rerankers.push(served);
        continue;
      }
      const model = await onDemandModel(settings, common);
      models.push(model);
      loaded.push(model);
      if (settings.load !== 'first-use') await model.load();
    }
    const { host, port, openMetrics, cors } = flags;
    const access = { apiKeys: apiKeysOf(flags, all, io.env), withoutKeys: !flags.keys, openMetrics };
    const server = await serve({ models, encoders, rerankers, log, version, host, port, cors, ...access });
    tell(io, `${all.map(({ name }) => name).join(', ')} ${all.length === 1 ? 'is' : 'are'} served at ${server.url}/v1`);
    await new Promise<void>((resolve) => {
      if (io.signal.aborted) resolve();
      io.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    tell(io, 'ending: answers that are being written are finished first, within 30 seconds');
    await server.close();
  } finally {
    for (const model of loaded) await model.dispose();
  }
}

/** The cache classes of the command line. @throws UsageError for options that a policy does not take. */
async function readClasses(flags: ServeFlags): Promise<CacheClass[]> {
  const classes: CacheClass[] = [
    { name: 'default', options: optionsForWorker(await cacheOptions(flags), flags.cachePolicy) },
  ];
  for (const { name, options } of flags.cacheClass ?? []) classes.push({ name, options: await classOptions(options) });
  return classes;
}

/** All models of the server: those of --models or the one of the command line, then those of --embeddings and --rerank. */
async function namedSettings({ models, embeddings, rerank, name, model }: ServeFlags, env: CliIo['env']) {
  const all: NamedSettings[] = models
    ? await modelSettings(models, env)
    : [{ name: name ?? clientName(model), path: model }];
  if (embeddings !== undefined) all.push({ name: clientName(embeddings), path: embeddings, embeddings: true });
  if (rerank !== undefined) all.push({ name: clientName(rerank), path: rerank, rerank: true });
  return all;
}

/** Keys of the command line, of the environment and of single models. */
function apiKeysOf({ apiKey = [] }: ServeFlags, all: readonly NamedSettings[], env: CliIo['env']): string[] {
  const common = env.KEYHOLD_API_KEY ? [env.KEYHOLD_API_KEY] : [];
  return [...new Set([...apiKey, ...common, ...all.flatMap((each) => each.apiKeys ?? [])])];
}

/**
 * A folder, or `s3://BUCKET/PREFIX` with the keys of the environment.
 * @throws UsageError without them, and for a folder that can't be made.
 */
async function sessionStore(name: string, env: CliIo['env']): Promise<SessionStore> {
  const { folderStore, s3Store } = await import('../../exports/server.ts');
  const [, bucket, prefix] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(name) ?? [];
  if (bucket === undefined) {
    // Said at once: sessions are saved when they leave the memory, maybe hours later.
    await makeFolderFor(`--session-dir ${name}`, name, 0o700);
    return folderStore(name);
  }
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  if (!accessKeyId || !secretAccessKey)
    throw new UsageError('sessions in S3 need AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment');
  return asUsage(() =>
    s3Store({
      ...{ bucket, prefix: prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/` },
      region: env.AWS_REGION || env.AWS_DEFAULT_REGION,
      endpoint: env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL,
      credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) },
    }),
  );
}

/** A name on the hub as it is, and the last part of a path. */
export function clientName(model: string): string {
  return /[\\/]/.test(model) && !/^[\w.-]+\/[\w.:-]+$/.test(model) ? basename(model) : model;
}
