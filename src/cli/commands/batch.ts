/**
 * @file `keyhold batch`: OpenAI's batch files without a server.
 */
import { link, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { InputError } from '../../index.ts';
import type { CacheClass } from '../../server/cache-classes.ts';
import { takeFileLock } from '../../util/files/file-lock-node.ts';
import { LineFile } from '../batch/line-file.ts';
import {
  finishedIds,
  type OfflineRequest,
  type OfflineResult,
  offlineIds,
  offlineRequests,
} from '../batch/offline-lines.ts';
import { type Answer, collectFromQueue, workOnQueue } from '../batch/queued-batch.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  type CacheFlags,
  cacheOptions,
  type LoadFlags,
  notEmpty,
  optionsForWorker,
  wholeFrom,
} from '../input/options.ts';
import { checkNoFolder, makeFolderFor } from '../input/targets.ts';
import { type CliIo, tell } from '../io.ts';
import { loadInWorkerForCommand } from '../models/load.ts';
import { counted, duration } from '../output/format.ts';
import { Progress } from '../output/progress.ts';
import { clientName } from './serve.ts';

interface OfflineFlags extends LoadFlags, CacheFlags {
  readonly out?: string;
  readonly queue?: string;
  readonly worker?: boolean;
  readonly untilEmpty?: boolean;
  readonly name?: string;
  readonly parallel: number;
  readonly maxTokens: number;
  readonly seed?: number;
  readonly quiet?: boolean;
}

export function addOfflineBatch(program: Command, io: CliIo): void {
  const command = program
    .command('batch')
    .summary('answer the requests of a batch file (OpenAI’s format)')
    .description(
      'Answers the requests of a batch file in OpenAI’s format, one a line: {"custom_id": …, "method": "POST", "url": ' +
        '"/v1/chat/completions", "body": {…}}. Each result is written to FILE.partial at once. An interrupted run continues ' +
        'there, and each request is answered once. FILE appears when all requests have a result.',
    )
    .argument('[requests]', 'file of requests, one a line', notEmpty)
    .option('-o, --out <file>', 'file of results; if it exists, nothing is done', notEmpty)
    .option(
      '--queue <url>',
      'send the requests to a queue in Redis, such as redis://localhost, where workers answer them',
      notEmpty,
    )
    .option('--worker', 'answer requests of the --queue instead of those of a file')
    .option('--until-empty', 'a worker ends when the queue is empty')
    .option('--name <name>', 'what the requests call the model (default: its own name)', notEmpty)
    .addOption(
      new Option('--parallel <n>', 'most requests that are answered at the same time')
        .argParser(wholeFrom(1))
        .default(8),
    )
    .addOption(new Option('--max-tokens <n>', 'most tokens of an answer').argParser(wholeFrom(1)).default(4096))
    .addOption(
      new Option('--seed <n>', 'the seed of the first request; each one after it has the next').argParser(wholeFrom(0)),
    )
    .option('-q, --quiet', 'print no summary');
  addLoadOptions(command);
  addCacheOptions(command);
  addHubOptions(command);
  command.action((requests: string | undefined, flags: OfflineFlags) => {
    if (flags.worker) return answerQueue(requests, flags, io);
    if (requests === undefined) throw new UsageError('name a file of requests');
    if (flags.out === undefined) throw new UsageError('name a file of results: -o FILE');
    if (flags.untilEmpty) throw new UsageError('--until-empty is an option of a worker: add --worker, or leave it out');
    return answerFile(requests, { ...flags, out: flags.out }, io);
  });
  addExamples(command, [
    ['results of a file of requests', 'keyhold batch requests.jsonl -o results.jsonl -m Qwen/Qwen3-0.6B'],
    [
      'the same by workers, on any number of machines',
      'keyhold batch requests.jsonl -o results.jsonl --queue redis://queue',
    ],
    ['a worker', 'keyhold batch --worker --queue redis://queue -m Qwen/Qwen3-0.6B'],
  ]);
}

async function answerFile(path: string, flags: OfflineFlags & { readonly out: string }, io: CliIo): Promise<void> {
  const { out } = flags;
  await checkOut(out, path);
  if (await exists(out)) return tell(io, `${out} is there already`);
  const ids = await offlineIds(path);
  // Two processes that write the same file would answer some requests twice.
  const lock = await takeFileLock(`${out}.lock`, io.signal);
  try {
    if (await exists(out)) return tell(io, `${out} is there already`);
    const partial = `${out}.partial`;
    let found = finishedIds(partial, [], ids);
    const results = await LineFile.open(partial, (lines) => {
      found = finishedIds(partial, lines, ids);
    });
    let failed: number;
    try {
      failed = found.failed + (await answerAll({ path, ids, done: found.done, results }, flags, io));
      await results.sync();
    } finally {
      await results.close();
    }
    await publish(partial, out);
    if (failed > 0) throw new InputError(`${counted(failed, 'request')} failed; the results say why`);
  } finally {
    await lock.release();
  }
}

/** @throws UsageError for results that could not be written, and for those in the file of requests. */
async function checkOut(out: string, requests: string): Promise<void> {
  await checkNoFolder('-o', out);
  if (resolve(out) === resolve(requests)) throw new UsageError(`-o ${out} is the file of requests: name another`);
  await makeFolderFor(`-o ${out}`, dirname(out));
}

/** Gives the results their name, where no other file has it: `rename` would replace one. */
async function publish(partial: string, out: string): Promise<void> {
  try {
    await link(partial, out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  await rm(partial);
}

/** A file of requests, and the results that are there. */
interface OpenBatch {
  readonly path: string;
  readonly ids: ReadonlySet<string>;
  readonly done: ReadonlySet<string>;
  readonly results: LineFile;
}

/** @returns how many requests failed. */
async function answerAll(batch: OpenBatch, flags: OfflineFlags, io: CliIo): Promise<number> {
  const { path, ids, done, results } = batch;
  if (done.size === ids.size) return 0;
  const tally = new Tally(io, done.size, ids.size);
  const onResult = (result: OfflineResult) => tally.add(result);
  const { seed, parallel } = flags;
  const { signal } = io;
  try {
    if (flags.queue !== undefined) {
      tally.show();
      await collectFromQueue({ ...batch, url: flags.queue, seed, signal, onResult });
    } else
      await withAnswer(flags, io, async (answer) => {
        tally.show();
        const source = offlineRequests(path);
        const worker = async () => {
          for await (const request of source) {
            if (done.has(request.custom_id)) continue;
            const body = seed === undefined ? request.body : { seed: seed + request.index, ...request.body };
            const result = await answer({ ...request, body }, signal);
            await results.append(result);
            onResult(result);
          }
        };
        await Promise.all(Array.from({ length: parallel }, worker));
      });
  } finally {
    tally.end();
  }
  if (!flags.quiet) tell(io, `${tally.said()}, ${done.size} were there already`);
  return tally.failed;
}

async function answerQueue(requests: string | undefined, flags: OfflineFlags, io: CliIo): Promise<void> {
  const { queue: url, parallel, untilEmpty = false } = flags;
  if (url === undefined) throw new UsageError('a --worker needs a --queue');
  if (requests !== undefined || flags.out !== undefined || flags.seed !== undefined)
    throw new UsageError(
      'a --worker takes its requests from the queue, which says all of them: no file, --out or --seed',
    );
  const tally = new Tally(io, 0, null);
  try {
    await withAnswer(flags, io, async (answer, model) => {
      tell(io, `requests for ${model} are answered`);
      const onResult = (result: OfflineResult) => tally.add(result);
      await workOnQueue({ url, model, parallel, untilEmpty, answer, signal: io.signal, onResult });
    });
  } finally {
    tally.end();
  }
  if (!flags.quiet) tell(io, tally.said());
}

/** How many requests were answered. */
class Tally {
  finished = 0;
  failed = 0;
  readonly #begin = performance.now();
  readonly #progress: Progress;
  readonly #before: number;
  readonly #total: number | null;

  /** @param total null: it is not known. */
  constructor(io: CliIo, before: number, total: number | null) {
    this.#progress = new Progress(io);
    this.#before = before;
    this.#total = total;
  }

  add(result: OfflineResult): void {
    this.finished++;
    if (result.response.status_code !== 200) this.failed++;
    this.show();
  }

  show(): void {
    const done = this.#before + this.finished;
    if (this.#total !== null) this.#progress.update({ label: 'Answering', done, total: this.#total, unit: 'requests' });
  }

  end(): void {
    this.#progress.end();
  }

  said(): string {
    return `${counted(this.finished, 'request')} in ${duration(performance.now() - this.#begin)}`;
  }
}

/** Loads the model for as long as requests are answered. */
async function withAnswer(
  flags: OfflineFlags,
  io: CliIo,
  use: (answer: Answer, model: string) => Promise<void>,
): Promise<void> {
  const { ServedModel, createApp } = await import('../../exports/server.ts');
  const model = await loadInWorkerForCommand(flags, io, new Progress(io));
  try {
    const id = flags.name ?? clientName(flags.model);
    const options = optionsForWorker(await cacheOptions(flags), flags.cachePolicy);
    const served = new ServedModel(model, {
      id,
      cacheClasses: [{ name: 'default', options: options as CacheClass['options'] }],
      rows: flags.parallel,
      queue: flags.parallel,
      queueMs: 2 ** 31 - 1,
      maxTokens: flags.maxTokens,
      sessions: 0,
      store: null,
      onLoss: () => {},
    });
    const app = createApp({ models: [served], bodyBytes: Number.POSITIVE_INFINITY });
    await use((request, signal) => answerOne(app, request, signal), id);
  } finally {
    await model.dispose();
  }
}

async function answerOne(
  app: { fetch(request: Request): Response | Promise<Response> },
  { custom_id, url, body }: OfflineRequest,
  signal: AbortSignal,
): Promise<OfflineResult> {
  signal.throwIfAborted();
  const response = await app.fetch(
    new Request(`http://localhost${url}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    }),
  );
  const answer: unknown = await response.json();
  // An answer that was broken off is none: the next run asks again.
  signal.throwIfAborted();
  const request_id = response.headers.get('x-request-id') ?? '';
  return {
    id: `batch_req_${request_id}`,
    custom_id,
    response: { status_code: response.status, request_id, body: answer },
    error: null,
  };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
