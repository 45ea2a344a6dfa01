/**
 * @file A queue of batch requests in Redis: streams with a consumer group, and results that are created where they are
 * absent.
 *
 * Keys: `keyhold:requests:MODEL`, a stream of requests; `keyhold:batch:ID:queued` and `…:done`, sets of custom ids;
 * `…:results`, a stream.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { InputError } from '../../index.ts';

/** A request of a batch, as JSON. */
export interface QueuedRequest {
  readonly batch: string;
  readonly customId: string;
  readonly request: string;
}

/** A request that a worker has until it finishes it, or gives it back. */
export interface TakenRequest extends QueuedRequest {
  readonly entry: string;
  /** How often it was given to a worker. */
  readonly deliveries: number;
}

const GROUP = 'workers';
/** A worker that says nothing for so long has died. */
export const DEAD_MS = 30_000;
/** How long the results of a batch stay after its file is whole. */
const KEEP_SECONDS = 86_400;

const requestsKey = (model: string) => `keyhold:requests:${model}`;
const batchKeys = (batch: string) => ['queued', 'done', 'results'].map((name) => `keyhold:batch:${batch}:${name}`);

/** Queues requests that were not queued before. A script runs whole or not at all, and a repeat changes nothing. */
const ADD = `
local added = 0
for i = 2, #ARGV, 2 do
  if redis.call('SADD', KEYS[1], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[2], '*', 'batch', ARGV[1], 'id', ARGV[i], 'request', ARGV[i + 1])
    added = added + 1
  end
end
return added`;
/** Creates a result where there is none, and takes the request out of the queue. */
const FINISH = `
if redis.call('SADD', KEYS[1], ARGV[1]) == 1 then redis.call('XADD', KEYS[2], '*', 'result', ARGV[2]) end
redis.call('XACK', KEYS[3], '${GROUP}', ARGV[3])
redis.call('XDEL', KEYS[3], ARGV[3])`;

type Entry = readonly [id: string, fields: readonly string[] | null];

export class RedisQueue {
  readonly #redis: Redis;
  /** Waits for new entries, while the other connection does the rest. */
  readonly #reader: Redis;
  readonly #consumer = randomUUID();

  private constructor(redis: Redis, reader: Redis) {
    this.#redis = redis;
    this.#reader = reader;
  }

  /**
   * Connects to a server. A connection that is lost later is made again; commands wait for it.
   * @throws InputError where ioredis is not installed, and where the server can't be reached.
   */
  static async open(url: string): Promise<RedisQueue> {
    const Client = await loadClient();
    const where = hostOf(url);
    const make = async (): Promise<Redis> => {
      let isThere = false;
      const client = new Client(url, {
        lazyConnect: true,
        maxRetriesPerRequest: null,
        retryStrategy: (times) => (isThere ? Math.min(100 * times, 2000) : null),
      });
      let failure: Error | null = null;
      client.on('error', (error: Error) => {
        failure = error;
      });
      try {
        await client.connect();
      } catch (error) {
        client.disconnect();
        throw new InputError(`the Redis server ${where} can't be reached: ${(failure ?? (error as Error)).message}`, {
          cause: error,
        });
      }
      isThere = true;
      return client;
    };
    const redis = await make();
    return new RedisQueue(redis, await make());
  }

  /** Queues the requests of a batch that were not queued before. @returns how many these were. */
  async add(batch: string, model: string, requests: readonly QueuedRequest[]): Promise<number> {
    const [queued] = batchKeys(batch);
    const values = requests.flatMap(({ customId, request }) => [customId, request]);
    return Number(await this.#redis.eval(ADD, 2, queued, requestsKey(model), batch, ...values));
  }

  /** How many requests of a batch were queued. Less than before: the server has lost them. */
  async queued(batch: string): Promise<number> {
    return this.#redis.scard(batchKeys(batch)[0]);
  }

  /**
   * Results of a batch that came after one, in the order in which they came. @param after a result's entry; '0': all
   */
  async results(batch: string, after: string): Promise<{ readonly entry: string; readonly result: string }[]> {
    const entries = (await this.#redis.xrange(batchKeys(batch)[2], `(${after}`, '+', 'COUNT', 500)) as Entry[];
    return entries.map(([entry, fields]) => ({ entry, result: fields![1] }));
  }

  /** Results are not needed any more after a day. */
  async expire(batch: string): Promise<void> {
    for (const key of batchKeys(batch)) await this.#redis.expire(key, KEEP_SECONDS);
  }

  /** Up to `count` requests: those of workers that have died, or else new ones, for which it waits up to `waitMs`. */
  async take(model: string, count: number, waitMs: number): Promise<TakenRequest[]> {
    const key = requestsKey(model);
    try {
      const [, left] = (await this.#redis.xautoclaim(key, GROUP, this.#consumer, DEAD_MS, '0', 'COUNT', count)) as [
        string,
        Entry[],
      ];
      // A deleted entry has no fields.
      const claimed = left.filter(([, fields]) => fields !== null);
      if (claimed.length > 0) return Promise.all(claimed.map((entry) => this.#claimed(key, entry)));
      const found = (await this.#reader.xreadgroup(
        'GROUP',
        GROUP,
        this.#consumer,
        'COUNT',
        count,
        'BLOCK',
        waitMs,
        'STREAMS',
        key,
        '>',
      )) as [string, Entry[]][] | null;
      return (found?.[0][1] ?? []).map((entry) => takenOf(entry, 1));
    } catch (error) {
      if (!/^NOGROUP/.test((error as Error).message)) throw error;
      await this.#redis.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM').catch((failure: Error) => {
        if (!/^BUSYGROUP/.test(failure.message)) throw failure;
      });
      return [];
    }
  }

  async #claimed(key: string, entry: Entry): Promise<TakenRequest> {
    const pending = (await this.#redis.xpending(key, GROUP, entry[0], entry[0], 1)) as [
      string,
      string,
      number,
      number,
    ][];
    return takenOf(entry, pending[0]?.[3] ?? 1);
  }

  /** Says that the worker lives and still has these requests. */
  async keep(model: string, taken: Iterable<TakenRequest>): Promise<void> {
    const entries = Array.from(taken, ({ entry }) => entry);
    if (entries.length > 0)
      await this.#redis.xclaim(requestsKey(model), GROUP, this.#consumer, 0, ...entries, 'JUSTID');
  }

  /** The next worker that asks gets the request. */
  async giveBack(model: string, { entry }: TakenRequest): Promise<void> {
    await this.#redis.xclaim(requestsKey(model), GROUP, this.#consumer, 0, entry, 'IDLE', 2 * DEAD_MS, 'JUSTID');
  }

  /** Adds the result of a request, where it has none. */
  async finish(model: string, { batch, customId, entry }: TakenRequest, result: string): Promise<void> {
    const [, done, results] = batchKeys(batch);
    await this.#redis.eval(FINISH, 3, done, results, requestsKey(model), customId, result, entry);
  }

  /** Requests that are not finished. */
  async left(model: string): Promise<number> {
    return this.#redis.xlen(requestsKey(model));
  }

  close(): void {
    this.#redis.disconnect();
    this.#reader.disconnect();
  }
}

function takenOf([entry, fields]: Entry, deliveries: number): TakenRequest {
  const [, batch, , customId, , request] = fields!;
  return { entry, batch, customId, request, deliveries };
}

async function loadClient() {
  try {
    return (await import('ioredis')).Redis;
  } catch (cause) {
    throw new InputError('a queue in Redis needs the package ioredis: npm install ioredis', { cause });
  }
}

/** The host, without the password. @throws InputError for what is no address of Redis. */
function hostOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (!parsed || !/^rediss?:$/.test(parsed.protocol))
    throw new InputError('the queue must be an address such as redis://localhost:6379');
  return parsed.host;
}
