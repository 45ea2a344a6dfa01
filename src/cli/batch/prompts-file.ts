/**
 * @file `keyhold generate --prompts`: many prompts at once, each result a line.
 */
import type { BatchOptions, BatchResult, LanguageModel } from '../../index.ts';
import { type FileLock, takeFileLock } from '../../util/files/file-lock-node.ts';
import { type CliIo, shown, tell, write } from '../io.ts';
import { counted, duration, rate } from '../output/format.ts';
import type { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';
import { type NamedRequest, ResultFile, type ResultLine } from './batch-lines.ts';

export interface BatchJob {
  readonly requests: readonly NamedRequest[];
  /**
   * File of the results.
   * @default stdout
   */
  readonly out: string | undefined;
  readonly quiet: boolean;
}

const PATIENCE_MS = 1000;

/** Where results go. */
interface Sink {
  readonly done: ReadonlySet<string | number>;
  /** How many of those that are there failed. */
  readonly failed: number;
  append(line: ResultLine): Promise<void>;
  close(): Promise<void>;
}

/**
 * Works on all requests without a result. A result is written the moment it is there, so that a run that was cut off
 * goes on where it was.
 * @param options for requests that do not say otherwise. A seed is that of the first request; each one after it has the
 * next.
 * @returns how many requests failed, now or before.
 */
export async function runBatch(
  model: LanguageModel,
  job: BatchJob,
  options: BatchOptions,
  io: CliIo,
  progress: Progress,
): Promise<number> {
  const { requests } = job;
  // Two processes that write the same file would write some results twice.
  const lock = job.out === undefined ? null : await lockOf(job.out, job, io);
  let sink: Sink | null = null;
  try {
    sink = job.out === undefined ? stdoutSink(io) : await ResultFile.open(job.out, requests);
    return await work(model, sink, { ...job, options, progress }, io);
  } finally {
    await sink?.close();
    await lock?.release();
  }
}

/** Waits for another process that writes the same file, and says so where it takes long. */
async function lockOf(out: string, { quiet }: BatchJob, io: CliIo): Promise<FileLock> {
  const note = () => tell(io, styleOf(io.stderr, io.env).dim(`waiting for another process that writes ${out}`));
  const timer = setTimeout(() => quiet || note(), PATIENCE_MS);
  try {
    return await takeFileLock(`${out}.lock`, io.signal);
  } finally {
    clearTimeout(timer);
  }
}

async function work(
  model: LanguageModel,
  sink: Sink,
  { requests, quiet, options, progress }: BatchJob & { readonly options: BatchOptions; readonly progress: Progress },
  io: CliIo,
): Promise<number> {
  const { done } = sink;
  const open = requests
    .filter(({ id }) => !done.has(id))
    .map(({ index, ...request }) => ({ ...request, seed: request.seed ?? seedOf(options, index) }));
  const byId = new Map(open.map((request) => [request.id, request]));
  const state = { finished: 0, failed: 0, tokens: 0 };
  const begin = performance.now();
  const show = () => {
    const at = done.size + state.finished;
    const perSecond = (state.tokens * 1000) / (performance.now() - begin);
    const note = state.tokens === 0 ? undefined : `${counted(state.tokens, 'token')}, ${rate(perSecond)} tokens/s`;
    progress.update({ label: 'Writing', done: at, total: requests.length, unit: 'requests', note });
  };
  show();
  for await (const event of model.generateBatch(open, { ...options, signal: io.signal })) {
    if (event.type === 'text') {
      state.tokens += event.tokens.length;
      show();
      continue;
    }
    // An interrupted request is done again by the next run.
    if (event.type === 'end' && event.result.finishReason === 'aborted') continue;
    if (event.type === 'error') state.failed++;
    await sink.append(resultLine(byId.get(event.id)!, event));
    state.finished++;
    show();
  }
  progress.end();
  if (!quiet) tellBatch(io, state, sink, performance.now() - begin);
  return sink.failed + state.failed;
}

function tellBatch(
  io: CliIo,
  { finished, failed, tokens }: { readonly finished: number; readonly failed: number; readonly tokens: number },
  before: Sink,
  ms: number,
): void {
  const { dim } = styleOf(io.stderr, io.env);
  const { size } = before.done;
  const were = `${counted(size, 'request')} ${size === 1 ? 'was' : 'were'} there already`;
  const there = size === 0 ? '' : `, ${were}${before.failed > 0 ? ` (${before.failed} failed)` : ''}`;
  const speed = tokens === 0 ? '' : ` (${rate((tokens * 1000) / ms)} a second)`;
  const errors = failed > 0 ? `, ${failed} of them failed` : '';
  tell(
    io,
    dim(`${counted(finished, 'request')} with ${counted(tokens, 'token')} in ${duration(ms)}${speed}${errors}${there}`),
  );
}

/** The same in whatever order requests are worked on. */
function seedOf(options: BatchOptions, index: number): number | undefined {
  return options.seed === undefined ? undefined : options.seed + index;
}

function resultLine(request: Omit<NamedRequest, 'index'>, result: BatchResult): ResultLine {
  const { id, prompt, messages, seed, temperature } = request;
  const said = { id, ...(prompt === undefined ? { messages } : { prompt }) };
  if (result.type === 'error') {
    const { name, message } =
      result.error instanceof Error ? result.error : { name: 'Error', message: String(result.error) };
    return { ...said, error: { name, message } };
  }
  const { text, tokens, finishReason, stopString, usage } = result.result;
  const { promptTokens } = usage;
  return {
    ...said,
    text,
    finishReason,
    ...(stopString === undefined ? {} : { stopString }),
    promptTokens,
    tokens: tokens.map(({ token }) => token),
    ...(tokens.some(({ top }) => top) ? { logprobs: tokens } : {}),
    ...(temperature === 0 ? {} : { seed }),
  };
}

function stdoutSink(io: CliIo): Sink {
  return {
    done: new Set(),
    failed: 0,
    append: (line) => write(io, `${shown(JSON.stringify(line), io.stdout)}\n`),
    close: async () => {},
  };
}
