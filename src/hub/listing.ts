/**
 * @file The hub's API: the commit of a revision, and the files of a commit that a model needs.
 */
import { parseShardIndex } from '../checkpoint/shard-index.ts';
import { HubError } from '../util/errors.ts';
import { chooseFiles, collectFiles, type HubFile, pickFiles, pickGgufFiles } from './files.ts';
import type { HubHttp } from './http.ts';

const COMMIT = /^[0-9a-f]{40}$/;

/** @throws HubError where there is no such revision, or the hub can't be reached. */
export async function commitOf(http: HubHttp, id: string, revision: string): Promise<string> {
  if (COMMIT.test(revision)) return revision;
  const url = `${http.options.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}`;
  const { sha } = (await readJson(http, id, revision, url)).value as { sha?: unknown };
  if (typeof sha === 'string' && COMMIT.test(sha)) return sha;
  throw new HubError(`${id}: the server names no commit for revision ${revision}; is the endpoint right?`);
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
  const listing = await collectFiles(entries(http, id, commit), id);
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
    if (!Array.isArray(value)) throw new HubError(`${id}: the server's list of files is malformed`);
    yield* value;
    url = next;
  }
}

async function readJson(http: HubHttp, id: string, revision: string, url: string) {
  const response = await http.api({ id, revision })(url);
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  try {
    return { value: (await response.json()) as unknown, next };
  } catch (cause) {
    throw new HubError(`${id}: the server's answer is not what the hub sends; is the endpoint right?`, undefined, {
      cause,
    });
  }
}

/** The address of a file at a commit. */
export function fileUrl({ options }: HubHttp, id: string, commit: string, path: string): string {
  return `${options.endpoint}/${id}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}
