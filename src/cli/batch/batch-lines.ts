/**
 * @file The files of a batch: one request a line, one result a line (JSON Lines).
 */
import * as v from 'valibot';
import { type BatchRequest, InputError } from '../../index.ts';
import { issueText } from '../../util/json/issue.ts';
import { readGivenFile } from '../input/text-file.ts';
import { LineFile, notWritten } from './line-file.ts';

const number = v.number();
const count = v.pipe(number, v.integer(), v.minValue(0));
const Id = v.union([v.string(), count]);

/** A line: a prompt alone, or a request with options of its own, named as in the library. */
const Line = v.union([
  v.string(),
  v.strictObject({
    id: v.optional(Id),
    prompt: v.optional(v.union([v.string(), v.array(count)])),
    // As templates take them: null or nothing beside tool_calls, and lists of parts.
    messages: v.optional(
      v.array(v.looseObject({ role: v.string(), content: v.nullish(v.union([v.string(), v.array(v.unknown())])) })),
    ),
    template: v.optional(v.string()),
    maxNewTokens: v.optional(number),
    stop: v.optional(v.union([v.string(), v.array(v.string())])),
    eosTokenIds: v.optional(v.array(count)),
    topLogprobs: v.optional(number),
    temperature: v.optional(number),
    topK: v.optional(number),
    topP: v.optional(number),
    minP: v.optional(number),
    repetitionPenalty: v.optional(number),
    frequencyPenalty: v.optional(number),
    presencePenalty: v.optional(number),
    bannedTokens: v.optional(v.array(count)),
    logitBias: v.optional(v.record(v.string(), number)),
    seed: v.optional(number),
    format: v.optional(v.looseObject({ type: v.string() })),
    cache: v.optional(v.record(v.string(), v.union([v.string(), number, v.boolean()]))),
  }),
]);

const NO_REQUEST = 'must be a prompt, or an object with a prompt';

/** A request and its index in the file, which is the default of its id. */
export type NamedRequest = BatchRequest & { readonly id: string | number; readonly index: number };

/**
 * @throws UsageError for a file that can't be read; InputError for a line that is no request, and for ids that occur
 * twice.
 */
export async function readRequests(path: string): Promise<NamedRequest[]> {
  const lines = (await readGivenFile(path, `--prompts ${path}`)).split(/\r?\n/);
  const requests: NamedRequest[] = [];
  const ids = new Set<string | number>();
  for (const [i, text] of lines.entries()) {
    if (text.trim() === '') continue;
    const where = `${path}, line ${i + 1}`;
    const json = parsedJson(text, where);
    // An array would pass for an object with numbers as keys.
    if (Array.isArray(json)) throw new InputError(`${where} ${NO_REQUEST}`);
    const parsed = v.safeParse(Line, json);
    if (!parsed.success) throw new InputError(`${where}${flawOf(parsed.issues)}`);
    const said = typeof parsed.output === 'string' ? { prompt: parsed.output } : parsed.output;
    if ((said.prompt === undefined) === (said.messages === undefined))
      throw new InputError(`${where} must have a prompt, or messages instead`);
    const index = requests.length;
    const id = said.id ?? index;
    if (ids.has(id)) throw new InputError(`${where}: there is another request with the id ${JSON.stringify(id)}`);
    ids.add(id);
    requests.push({ ...(said as BatchRequest), id, index });
  }
  if (requests.length === 0) throw new InputError(`${path} has no requests: one a line, as JSON`);
  return requests;
}

/** What a result's line says besides what came of it. */
export interface ResultLine {
  readonly id: string | number;
  readonly prompt?: BatchRequest['prompt'];
  readonly messages?: BatchRequest['messages'];
  readonly [key: string]: unknown;
}

/** Results, appended line by line. */
export class ResultFile {
  readonly #file: LineFile;
  /** Ids of the requests that had a result already. */
  readonly done: ReadonlySet<string | number>;
  /** How many of them are errors. */
  readonly failed: number;

  private constructor(file: LineFile, { done, failed }: Found) {
    this.#file = file;
    this.done = done;
    this.failed = failed;
  }

  /**
   * Opens a file for more results.
   * @throws InputError where the file holds something else, or results of other requests.
   */
  static async open(path: string, requests: readonly NamedRequest[]): Promise<ResultFile> {
    const found: Found = { done: new Set(), failed: 0 };
    const name = `--out ${path}`;
    try {
      const check = (lines: readonly string[]) => checkResults(path, lines, requests, found);
      return new ResultFile(await LineFile.open(path, check, name), found);
    } catch (cause) {
      throw cause instanceof InputError ? cause : notWritten(name, cause);
    }
  }

  /** @throws InputError where the disk refuses it; what was appended before stays. */
  append(line: ResultLine): Promise<void> {
    return this.#file.append(line);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** What a file of results has in it. */
interface Found {
  readonly done: Set<string | number>;
  failed: number;
}

/** Adds up results. @throws InputError where they are of other requests. */
function checkResults(path: string, lines: readonly string[], requests: readonly NamedRequest[], found: Found): void {
  const byId = new Map(requests.map((request) => [request.id, request]));
  for (const [i, text] of lines.entries()) {
    const line = parsedJson(text, `--out ${path}, line ${i + 1}`) as Partial<ResultLine> | null;
    const request = byId.get(line?.id ?? '');
    const isSame = (key: 'prompt' | 'messages') => JSON.stringify(line?.[key]) === JSON.stringify(request?.[key]);
    if (!request || !isSame('prompt') || !isSame('messages'))
      throw new InputError(
        `--out ${path}, line ${i + 1} is not a result of these prompts; name another file, or take it away`,
      );
    found.done.add(request.id);
    if (line?.['error'] !== undefined) found.failed++;
  }
}

function parsedJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** The first thing that is wrong, by its key. */
function flawOf(issues: readonly v.BaseIssue<unknown>[]): string {
  // Of the two forms of a line, an object is the one that says more.
  const issue = issues[0].issues?.at(-1) ?? issues[0];
  const path = v.getDotPath(issue);
  // strictObject says of a key that it does not know that it should never be there.
  if (path !== null && issue.expected === 'never') return `: there is no option ${path}`;
  return path === null ? ` ${NO_REQUEST}` : `: ${issueText(path, issue)}`;
}
