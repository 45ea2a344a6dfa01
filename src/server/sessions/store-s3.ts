/**
 * @file Sessions' caches in S3, or a store that speaks its protocol, an object each. Several servers may share it.
 */
import type { AwsClient } from 'aws4fetch';
import { InputError, SnapshotError } from '../../util/errors.ts';
import { checkOptionsObject } from '../../util/option-names.ts';
import type { SessionStore } from './sessions.ts';

/** The keys of an account of S3. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. @default none */
  readonly sessionToken?: string;
}

/** Options of `s3Store`. */
export interface S3StoreOptions {
  /** Name of the bucket, which must exist. */
  readonly bucket: string;
  /** Names of objects begin with it. @default '' */
  readonly prefix?: string;
  /** Region of the bucket. @default 'us-east-1' */
  readonly region?: string;
  /** Address of another store than Amazon's, such as `http://minio:9000`. @default Amazon's, of the region */
  readonly endpoint?: string;
  /** The keys, or a function that is called before each request and may renew them. */
  readonly credentials: S3Credentials | (() => Promise<S3Credentials>);
  /** Milliseconds after which a request has failed. @default 120000 */
  readonly timeoutMs?: number;
}

const END = '.khc';
/** Repeats after answers 429 and 5xx. */
const RETRIES = 3;

/**
 * Keeps sessions' caches in S3, or in a store with its protocol. It needs the package aws4fetch. A session that another
 * server has saved meanwhile is not replaced. Objects are not removed: give the bucket a rule that removes old ones.
 * @throws InputError for an endpoint or a bucket that is none. The store itself throws SnapshotError for what S3
 * refuses, and InputError where aws4fetch is not installed.
 */
export function s3Store(options: S3StoreOptions): SessionStore {
  checkOptionsObject('s3Store', options, ['bucket', 'credentials']);
  const { prefix = '', credentials, timeoutMs = 120_000, region = 'us-east-1' } = options;
  const base = baseOf(options, region);
  const urlOf = (name: string) => `${base}/${`${prefix}${name}${END}`.split('/').map(encodeURIComponent).join('/')}`;

  async function send(name: string, method: string, more: RequestInit = {}): Promise<Response> {
    const Client = await loadClient();
    const keys = typeof credentials === 'function' ? await credentials() : credentials;
    const client: AwsClient = new Client({ ...keys, region, service: 's3', retries: RETRIES });
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await client.fetch(urlOf(name), { ...more, method, signal });
    } catch (cause) {
      throw new SnapshotError(`the store ${base} can't be reached: ${reasonOf(cause)}`, { cause });
    }
  }

  return {
    async save(name, bytes, replaces) {
      const condition: Record<string, string> =
        replaces === undefined ? {} : replaces === null ? { 'if-none-match': '*' } : { 'if-match': replaces };
      const put = (headers: Record<string, string>) =>
        send(name, 'PUT', {
          body: bytes as Uint8Array<ArrayBuffer>,
          headers: { ...headers, 'content-type': 'application/octet-stream' },
        });
      let response = await put(condition);
      // A store that knows no conditions.
      if (response.status === 501) response = await put({});
      if (isConflict(response.status) && replaces !== undefined) {
        await response.body?.cancel();
        throw new SnapshotError('another server has saved this session meanwhile; what it saved stays');
      }
      await check(response, 'PUT');
      return response.headers.get('etag');
    },
    async load(name) {
      const response = await send(name, 'GET');
      if (response.status === 404) return nothing(response);
      await check(response, 'GET', false);
      return new Uint8Array(await response.arrayBuffer());
    },
    async version(name) {
      const response = await send(name, 'HEAD');
      if (response.status === 404) return nothing(response);
      await check(response, 'HEAD');
      return response.headers.get('etag');
    },
  };
}

/** Two writes at the same time are 409; an object that is gone is 404. */
const isConflict = (status: number): boolean => status === 412 || status === 409 || status === 404;

async function nothing(response: Response): Promise<null> {
  await response.body?.cancel();
  return null;
}

/** @param end whether the body is not read afterwards. */
async function check(response: Response, method: string, end = true): Promise<void> {
  if (!response.ok) {
    const code = /<Code>(\w+)<\/Code>/.exec(await response.text())?.[1];
    throw new SnapshotError(`the store refused ${method}: ${response.status}${code === undefined ? '' : ` ${code}`}`);
  }
  if (end) await response.body?.cancel();
}

function baseOf({ bucket, endpoint }: S3StoreOptions, region: string): string {
  if (!/^[a-z0-9][a-z0-9.-]{1,62}$/.test(bucket))
    throw new InputError(
      `"${bucket}" is not the name of a bucket: it has 3 to 63 lower-case letters, digits, dots and hyphens`,
    );
  if (endpoint === undefined) return `https://${bucket}.s3.${region}.amazonaws.com`;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol))
    throw new InputError(`"${endpoint}" is not the address of a store, such as https://minio.example:9000`);
  return `${endpoint.replace(/\/+$/, '')}/${bucket}`;
}

async function loadClient(): Promise<typeof AwsClient> {
  try {
    return (await import('aws4fetch')).AwsClient;
  } catch (cause) {
    throw new InputError('sessions in S3 need the package aws4fetch: npm install aws4fetch', { cause });
  }
}

/** `fetch` tells the reason in the cause of its error. */
function reasonOf(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}
