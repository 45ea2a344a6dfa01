/**
 * @file `keyhold batch --queue`: one process sends the requests of a file to a queue and collects the results; others
 * answer them.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { InputError } from '../../index.ts';
import type { LineFile } from './line-file.ts';
import { type OfflineRequest, type OfflineResult, offlineRequests } from './offline-lines.ts';
import { DEAD_MS, type QueuedRequest, RedisQueue, type TakenRequest } from './redis-queue.ts';

/** Answers a request of a batch. */
export type Answer = (request: OfflineRequest, signal: AbortSignal) => Promise<OfflineResult>;

const POLL_MS = 500;
/** Requests that are sent to the queue at once. */
const CHUNK = 200;
/** A request whose workers have died so often is refused: it may be what ends them. */
const MAX_DELIVERIES = 5;

export interface CollectOptions {
  /** The file of requests. */
  readonly path: string;
  readonly url: string;
  readonly seed?: number;
  readonly ids: ReadonlySet<string>;
  /** Custom ids that have a result in the file. */
  readonly done: ReadonlySet<string>;
  readonly results: LineFile;
  readonly signal: AbortSignal;
  readonly onResult: (result: OfflineResult) => void;
}

/** Sends the requests that have no result to the queue, and appends the results as they come. */
export async function collectFromQueue(options: CollectOptions): Promise<void> {
  const { path, url, seed, ids, results, signal } = options;
  const done = new Set(options.done);
  const batch = await batchId(path, seed);
  const queue = await RedisQueue.open(url);
  try {
    let [after, expected] = ['0', -1];
    while (done.size < ids.size) {
      signal.throwIfAborted();
      // A server that keeps nothing on its disk loses requests when it ends.
      if (expected < 0 || (await queue.queued(batch)) < expected) {
        [after, expected] = ['0', ids.size - done.size];
        await send(queue, batch, options, done);
      }
      const found = await queue.results(batch, after);
      for (const { entry, result } of found) {
        after = entry;
        const parsed = JSON.parse(result) as OfflineResult;
        if (done.has(parsed.custom_id)) continue;
        await results.append(parsed);
        done.add(parsed.custom_id);
        options.onResult(parsed);
      }
      if (found.length === 0) await sleep(POLL_MS, undefined, { signal });
    }
    await queue.expire(batch);
  } finally {
    queue.close();
  }
}

/** The same file with the same seed is the same batch: another process goes on with it. */
async function batchId(path: string, seed: number | undefined): Promise<string> {
  const hash = createHash('sha256').update(`${seed ?? ''}\n`);
  for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
  return hash.digest('hex').slice(0, 24);
}

async function send(
  queue: RedisQueue,
  batch: string,
  { path, seed, signal }: CollectOptions,
  done: ReadonlySet<string>,
): Promise<void> {
  const chunks = new Map<string, QueuedRequest[]>();
  const flush = async (model: string, chunk: QueuedRequest[]) => {
    signal.throwIfAborted();
    await queue.add(batch, model, chunk);
    chunk.length = 0;
  };
  for await (const request of offlineRequests(path)) {
    if (done.has(request.custom_id)) continue;
    const { model } = request.body;
    if (typeof model !== 'string')
      throw new InputError(`${path}: the request ${JSON.stringify(request.custom_id)} names no model`);
    const body = seed === undefined ? request.body : { seed: seed + request.index, ...request.body };
    const chunk = chunks.get(model) ?? [];
    chunks.set(model, chunk);
    chunk.push({ batch, customId: request.custom_id, request: JSON.stringify({ ...request, body }) });
    if (chunk.length >= CHUNK) await flush(model, chunk);
  }
  for (const [model, chunk] of chunks) if (chunk.length > 0) await flush(model, chunk);
}

export interface WorkOptions {
  readonly url: string;
  /** The requests of this name are answered. */
  readonly model: string;
  /** Most requests at work. */
  readonly parallel: number;
  /** Ends when no request is left; otherwise it waits for more. */
  readonly untilEmpty: boolean;
  readonly answer: Answer;
  readonly signal: AbortSignal;
  readonly onResult: (result: OfflineResult) => void;
}

/** Answers requests of the queue. When the signal ends it, requests that are not finished go back at once. */
export async function workOnQueue(options: WorkOptions): Promise<void> {
  const { url, model, parallel, signal } = options;
  const queue = await RedisQueue.open(url);
  const taken = new Map<TakenRequest, Promise<void>>();
  const failure = new AbortController();
  const ends = AbortSignal.any([signal, failure.signal]);
  const timer = setInterval(() => void queue.keep(model, taken.keys()).catch(() => {}), DEAD_MS / 3);
  try {
    while (true) {
      ends.throwIfAborted();
      const free = parallel - taken.size;
      if (free === 0) await Promise.race(taken.values());
      else {
        const isIdle = taken.size === 0;
        const found = await queue.take(model, free, isIdle ? POLL_MS : 50);
        for (const one of found) {
          const work = answerTaken(queue, one, options, ends)
            .catch((error: unknown) => failure.abort(error))
            .finally(() => taken.delete(one));
          taken.set(one, work);
        }
        if (found.length > 0) continue;
        if (options.untilEmpty && isIdle && (await queue.left(model)) === 0) return;
        if (!isIdle) await Promise.race([...taken.values(), sleep(POLL_MS)]);
      }
    }
  } finally {
    await Promise.all(taken.values());
    clearInterval(timer);
    queue.close();
  }
}

async function answerTaken(
  queue: RedisQueue,
  taken: TakenRequest,
  { model, answer, onResult }: WorkOptions,
  signal: AbortSignal,
): Promise<void> {
  let result: OfflineResult;
  try {
    result =
      taken.deliveries > MAX_DELIVERIES
        ? refusal(taken)
        : await answer(JSON.parse(taken.request) as OfflineRequest, signal);
  } catch (error) {
    await queue.giveBack(model, taken);
    throw error;
  }
  await queue.finish(model, taken, JSON.stringify(result));
  onResult(result);
}

function refusal({ customId, deliveries }: TakenRequest): OfflineResult {
  const message = `${deliveries - 1} workers have ended while they had this request`;
  const error = { message, type: 'server_error', param: null, code: 'workers_ended' };
  return {
    id: `batch_req_${customId}`,
    custom_id: customId,
    response: { status_code: 500, request_id: '', body: { error } },
    error: null,
  };
}
