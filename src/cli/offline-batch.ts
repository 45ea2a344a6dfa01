/**
 * @file `keyhold batch`: OpenAI's batch files without a server.
 */
import { link, rm, stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { InputError } from '../index.ts';
import type { CacheClass } from '../server/served-model.ts';
import { takeFileLock } from '../util/file-lock-node.ts';
import { counted, duration } from './format.ts';
import { addExamples } from './help.ts';
import { type CliIo, tell } from './io.ts';
import { LineFile } from './line-file.ts';
import { loadInWorkerForCommand } from './load.ts';
import { finishedIds, type OfflineRequest, type OfflineResult, offlineIds, offlineRequests } from './offline-lines.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  type CacheFlags,
  cacheOptions,
  type LoadFlags,
  notEmpty,
  wholeFrom,
} from './options.ts';
import { Progress } from './progress.ts';
import { clientName } from './serve.ts';

interface OfflineFlags extends LoadFlags, CacheFlags {
  readonly out: string;
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
        '"/v1/chat/completions", "body": {…}}. Results are written to FILE.partial the moment they are there; a run that was cut ' +
        'off goes on where it was, and each request is answered once. FILE appears when all requests have a result.',
    )
    .argument('<requests>', 'file of requests, one a line', notEmpty)
    .requiredOption('-o, --out <file>', 'file of results; where it is there already, nothing is done', notEmpty)
    .option('--name <name>', 'what the requests call the model (default: its own name)', notEmpty)
    .addOption(
      new Option('--parallel <n>', 'most requests at work at the same time').argParser(wholeFrom(1)).default(8),
    )
    .addOption(new Option('--max-tokens <n>', 'most tokens of an answer').argParser(wholeFrom(1)).default(4096))
    .addOption(
      new Option('--seed <n>', 'the seed of the first request; each one after it has the next').argParser(wholeFrom(0)),
    )
    .option('-q, --quiet', 'no numbers at the end');
  addLoadOptions(command);
  addCacheOptions(command);
  addHubOptions(command);
  command.action((requests: string, flags: OfflineFlags) => answerFile(requests, flags, io));
  addExamples(command, [
    ['results of a file of requests', 'keyhold batch requests.jsonl -o results.jsonl -m Qwen/Qwen3-0.6B'],
  ]);
}

async function answerFile(path: string, flags: OfflineFlags, io: CliIo): Promise<void> {
  const { out } = flags;
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
      failed = found.failed + (await answerAll(path, flags, ids.size, found.done, results, io));
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

/** Gives the results their name, where no other file has it: `rename` would replace one. */
async function publish(partial: string, out: string): Promise<void> {
  try {
    await link(partial, out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  await rm(partial);
}

/** @returns how many requests failed. */
async function answerAll(
  path: string,
  flags: OfflineFlags,
  total: number,
  done: ReadonlySet<string>,
  results: LineFile,
  io: CliIo,
): Promise<number> {
  if (done.size === total) return 0;
  const { ServedModel, createApp } = await import('../exports/server.ts');
  const progress = new Progress(io);
  const model = await loadInWorkerForCommand(flags, io, progress);
  try {
    const served = new ServedModel(model, {
      id: flags.name ?? clientName(flags.model),
      cacheClasses: [{ name: 'default', options: (await cacheOptions(flags)) as CacheClass['options'] }],
      rows: flags.parallel,
      queue: flags.parallel,
      queueMs: 2 ** 31 - 1,
      maxTokens: flags.maxTokens,
      sessions: 0,
      store: null,
      onLoss: () => {},
    });
    const app = createApp({ models: [served], bodyBytes: Number.POSITIVE_INFINITY });
    const state = { finished: 0, failed: 0 };
    const begin = performance.now();
    const show = () =>
      progress.update({ label: 'Answering', done: done.size + state.finished, total, unit: 'requests' });
    show();
    const source = offlineRequests(path);
    const worker = async () => {
      for await (const request of source) {
        if (done.has(request.custom_id)) continue;
        const result = await answerOne(app, request, flags.seed, io.signal);
        await results.append(result);
        state.finished++;
        if (result.response.status_code !== 200) state.failed++;
        show();
      }
    };
    try {
      await Promise.all(Array.from({ length: flags.parallel }, worker));
    } finally {
      progress.end();
    }
    if (!flags.quiet)
      tell(
        io,
        `${counted(state.finished, 'request')} in ${duration(performance.now() - begin)}, ${done.size} were there already`,
      );
    return state.failed;
  } finally {
    await model.dispose();
  }
}

async function answerOne(
  app: { fetch(request: Request): Response | Promise<Response> },
  { custom_id, url, body, index }: OfflineRequest,
  seed: number | undefined,
  signal: AbortSignal,
): Promise<OfflineResult> {
  signal.throwIfAborted();
  const response = await app.fetch(
    new Request(`http://localhost${url}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(seed === undefined ? body : { seed: seed + index, ...body }),
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
