/**
 * @file The hub's API: the commit of a revision, and the files of a commit that a model needs.
 */
import { parseShardIndex } from '../checkpoint/shard-index.ts';
import { HubError } from '../util/errors.ts';
import { chooseFiles, collectFiles, type HubFile, pickFiles, pickGgufFiles } from './files.ts';
import type { HubHttp } from './http.ts';

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * The commit that a revision names.
 * @param retries after failures of the network. @default those of `http`
 * @throws HubError where there is no such revision, or the hub can't be reached.
 */
export async function commitOf(http: HubHttp, id: string, revision: string, retries?: number): Promise<string> {
  if (COMMIT.test(revision)) return revision;
  // Without `expand` the answer lists all files, too.
  const url = `${http.options.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?expand=sha`;
  const { value } = await readJson(http, id, revision, url, retries);
  const sha = (value as { sha?: unknown } | null)?.sha;
  if (typeof sha === 'string' && COMMIT.test(sha)) return sha;
  throw new HubError(`${id}: the server names no commit for revision ${revision}; is HF_ENDPOINT right?`);
}

/** All files of a commit, by path. @throws HubError where the list can't be had, or names what must not be stored. */
export function listingOf(http: HubHttp, id: string, commit: string): Promise<ReadonlyMap<string, HubFile>> {
  return collectFiles(entries(http, id, commit), id);
}

/**
 * The files that a model needs. The index of shards is among them.
 * @param readText reads a file of the repository.
 */
export async function filesOf(
  http: HubHttp,
  { id, commit, gguf }: { readonly id: string; readonly commit: string; readonly gguf?: string },
  readText: (file: HubFile) => Promise<string>,
): Promise<readonly HubFile[]> {
  const listing = await listingOf(http, id, commit);
  if (gguf !== undefined) return pickGgufFiles(listing, gguf, id);
  const { files, index } = chooseFiles(listing, id);
  if (index === undefined) return files;
  const shards = new Set(parseShardIndex(await readText(index), `${id}/${index.path}`).values());
  return [...files, index, ...pickFiles(listing, [...shards].sort(), id)];
}

async function* entries(http: HubHttp, id: string, commit: string): AsyncGenerator<unknown> {
  let url: string | undefined = `${http.options.endpoint}/api/models/${id}/tree/${commit}?recursive=true`;
  while (url !== undefined) {
    const { value, next } = await readJson(http, id, commit, url);
    if (!Array.isArray(value)) throw notTheHub(id);
    yield* value;
    url = next;
  }
}

async function readJson(http: HubHttp, id: string, revision: string, url: string, retries?: number) {
  const response = await http.api({ id, revision }, retries)(url);
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  try {
    return { value: (await response.json()) as unknown, next };
  } catch (cause) {
    throw notTheHub(id, cause);
  }
}

/** Captive portals answer with pages of their own. */
function notTheHub(id: string, cause?: unknown): HubError {
  const message = `${id}: the server's answer is not what the hub sends; is HF_ENDPOINT right?`;
  return new HubError(message, undefined, { cause });
}

/** The address of a file at a commit. */
export function fileUrl({ options }: HubHttp, id: string, commit: string, path: string): string {
  return `${options.endpoint}/${id}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}
