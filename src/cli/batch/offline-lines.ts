/**
 * @file The lines of OpenAI's batch files: requests, and what came of them.
 */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import * as v from 'valibot';
import { whyUnread } from '../../checkpoint/file-source-node.ts';
import { InputError } from '../../index.ts';
import { issueText } from '../../util/json/issue.ts';
import { UsageError } from '../failure.ts';

const ROUTES = ['/v1/chat/completions', '/v1/completions'] as const;
const Line = v.looseObject({
  custom_id: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  method: v.literal('POST'),
  url: v.picklist(ROUTES),
  body: v.looseObject({ stream: v.optional(v.nullable(v.literal(false))) }),
});

export type OfflineRequest = v.InferOutput<typeof Line> & {
  /** From 0. */
  readonly index: number;
};

/** What came of a request. A request that was refused has the status and the body of the refusal. */
export interface OfflineResult {
  readonly id: string;
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly request_id: string; readonly body: unknown };
  readonly error: null;
}

/**
 * The requests of a file, one at a time.
 * @throws UsageError for a file that can't be read; InputError for a line that is no request.
 */
export async function* offlineRequests(path: string): AsyncGenerator<OfflineRequest, void, undefined> {
  const input = createReadStream(path, 'utf8');
  const failed = new Promise<never>((_, reject) => {
    input.once('error', (cause) => reject(new UsageError(`${path} ${whyUnread(cause)}`, { cause })));
  });
  failed.catch(() => {});
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  try {
    let index = 0;
    for (let number = 1; ; number++) {
      const next = await Promise.race([lines.next(), failed]);
      if (next.done) break;
      // Editors on Windows write a byte order mark.
      const text = number === 1 ? next.value.replace(/^\uFEFF/, '') : next.value;
      if (text.trim() !== '') yield { ...requestOf(text, `${path}, line ${number}`), index: index++ };
    }
  } finally {
    input.destroy();
  }
}

function requestOf(text: string, where: string): v.InferOutput<typeof Line> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = v.safeParse(Line, json);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = v.getDotPath(issue);
  throw new InputError(`${where} is not a request of a batch: ${issueText(path ?? 'the line', issue)}`);
}

/** The ids of all requests. @throws InputError for a file without requests, and for an id that occurs twice. */
export async function offlineIds(path: string): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  for await (const { custom_id } of offlineRequests(path)) {
    if (ids.has(custom_id))
      throw new InputError(`${path}: two requests have the custom_id ${JSON.stringify(custom_id)}`);
    ids.add(custom_id);
  }
  if (ids.size === 0) throw new InputError(`${path} has no requests: one a line, as JSON`);
  return ids;
}

/** What the results of an earlier run say. @throws InputError where they are not of these requests. */
export function finishedIds(path: string, lines: readonly string[], ids: ReadonlySet<string>) {
  const done = new Set<string>();
  let failed = 0;
  for (const [i, text] of lines.entries()) {
    const result = JSON.parse(text) as Partial<OfflineResult>;
    if (typeof result.custom_id !== 'string' || !ids.has(result.custom_id))
      throw new InputError(
        `${path}, line ${i + 1} is not a result of these requests; name another file, or take it away`,
      );
    done.add(result.custom_id);
    if (result.response?.status_code !== 200) failed++;
  }
  return { done, failed };
}
