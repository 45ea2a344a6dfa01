/**
 * @file How the two sides are driven: each lives in its own process and does one thing at a time when told to by a
 * message.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { BufferKind } from '../src/exports/policies.ts';
import type { WeightFormat } from '../src/weights/types.ts';
import type { Memory } from './resident.ts';
import { shapes } from './shapes.ts';

/** One line of the table: a prompt of `tokens` to be read, or tokens to be made after `tokens` in each row. */
export interface Work {
  readonly kind: 'prefill' | 'prompt' | 'decode' | 'batch' | 'open';
  readonly tokens: number;
  /** Sequences that are written side by side. */
  readonly rows: number;
  /** Slots of our cache, which then evicts; unless stated it holds all tokens, as the peer always does. */
  readonly budget?: number;
  /** How our cache stores keys and values; float32 unless stated. The peer's does not change. */
  readonly buffer?: BufferKind;
}

export interface LoadOptions {
  /** A key of `shapes`, or a GGUF file. */
  readonly shape: string;
  readonly threads: number;
  /** Our weight format, where the shape is no file. */
  readonly weights: WeightFormat;
  /** Seed of the random checkpoint. */
  readonly seed: number;
  /** A folder for prepared weights and the like, for all sides. */
  readonly folder: string;
}

export interface Timing {
  readonly tokens: number;
  readonly ms: number;
  /** How many were used, where it is not simply what was asked for. */
  readonly threads?: number;
  /** After a long prompt, where it can be known. */
  readonly memory?: Memory;
}

/** What a side can do: `load`, then for one work after the other `prepare` and any number of times `run`. */
export interface Side {
  load(options: LoadOptions): Promise<void>;
  /**
   * Everything that is not to be timed: makes the context, fills it, warms up. What the last work has left is used
   * again where it fits, so that a long prompt need not be read twice.
   */
  prepare(work: Work): Promise<void>;
  /** Does the prepared work once, from the same state each time. */
  run(): Promise<Timing>;
  /**
   * Instead of all that: loads what was loaded by other processes before, up to where the first token could be read.
   */
  open(options: LoadOptions): Promise<Timing>;
}

/** Tokens timed per run of a decode work; before them come a few that are not. */
export const DECODE_TOKENS = 32;
export const DECODE_WARM_UP = 4;
/** Tokens held by each row of a batch. */
export const BATCH_HELD = 256;
/** Room beyond the held tokens. */
export const SPARE_TOKENS = 600;
/** Tokens that there is room for after `open`. */
export const OPEN_TOKENS = 1024;
/** Before a long prompt so many of its tokens are read, for what happens only once. */
export const PROMPT_WARM_UP = 512;

/** The chunk length of llama.cpp's own tools. */
export const BATCH_SIZE = 512;

/** The file that peers load. */
export function fileOf({ shape, folder }: LoadOptions): string {
  return isFile(shape) ? shape : join(folder, 'model.gguf');
}

/** Whether it is a file instead of a shape. */
export function isFile(shape: string): boolean {
  return shape.endsWith('.gguf');
}

/** Ids of prompts are below this. */
export function promptVocabulary({ shape }: LoadOptions): number {
  return isFile(shape) ? 10_000 : shapes[shape]!.vocab_size;
}

/** Whether a work begins with what another one has left: the same tokens in as many rows. */
export function sameTokens(a: Work, b: Work): boolean {
  return a.tokens === b.tokens && a.rows === b.rows;
}

/** Some prompt: the same on both sides. */
export function promptTokens(length: number, vocabSize: number): number[] {
  return Array.from({ length }, (_, i) => 300 + ((i * 7919) % (vocabSize - 300)));
}

interface Request {
  readonly id: number;
  readonly method: keyof Side;
  readonly args: unknown[];
}

interface Response {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
  /**
   * Processor time since the previous answer as a share of the time that passed: above 1 where several threads spin.
   */
  readonly idleLoad: number;
  /** How long this was, in ms. */
  readonly idleMs: number;
}

/** In the child: answers messages with the side's methods. */
export function serve(side: Side): void {
  let cpu = process.cpuUsage();
  let time = performance.now();
  let queue = Promise.resolve();
  const answer = async ({ id, method, args }: Request) => {
    const idleMs = performance.now() - time;
    const used = process.cpuUsage(cpu);
    const idleLoad = (used.user + used.system) / 1000 / idleMs;
    let outcome: { result?: unknown; error?: string };
    try {
      outcome = { result: await (side[method] as (...args: unknown[]) => Promise<unknown>)(...args) };
    } catch (error) {
      outcome = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    cpu = process.cpuUsage();
    time = performance.now();
    process.send?.({ id, idleLoad, idleMs, ...outcome } satisfies Response);
  };
  process.on('message', (request: Request) => {
    queue = queue.then(() => answer(request));
  });
  process.on('disconnect', () => process.exit());
}

/** In the parent: a side in a process of its own. */
export class RemoteSide implements Side {
  readonly name: string;
  /** Its program. */
  readonly file: string;
  /** The highest load seen while the side had nothing to do (over stretches of 200 ms and more). */
  idleLoad = 0;
  private readonly child: ChildProcess;
  private nextId = 0;
  private readonly pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private ended: Error | undefined;

  constructor(name: string, file: string) {
    this.name = name;
    this.file = file;
    // What native code prints must not get between the lines of the table: both streams go to stderr.
    // What is compiled needs no loader.
    const execArgv = file.endsWith('.js') ? [] : process.execArgv;
    this.child = fork(file, { stdio: ['ignore', 2, 2, 'ipc'], execArgv });
    this.child.on('message', (response: Response) => this.settle(response));
    this.child.on('error', (error) => this.fail(error));
    this.child.on('exit', (code, signal) => this.fail(new Error(`${name} (${file}) ended early: ${signal ?? code}`)));
  }

  load(options: LoadOptions): Promise<void> {
    return this.call('load', options);
  }

  prepare(work: Work): Promise<void> {
    return this.call('prepare', work);
  }

  run(): Promise<Timing> {
    return this.call('run');
  }

  open(options: LoadOptions): Promise<Timing> {
    return this.call('open', options);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Ends the process and waits until it is gone. */
  async end(): Promise<void> {
    if (this.ended) return;
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.kill();
    await gone;
  }

  private call<T>(method: keyof Side, ...args: unknown[]): Promise<T> {
    if (this.ended) return Promise.reject(this.ended);
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      this.pending.set(id, { resolve: (value) => resolve(value as T), reject });
      this.child.send({ id, method, args } satisfies Request);
    });
  }

  private settle({ id, result, error, idleLoad, idleMs }: Response): void {
    const entry = this.pending.get(id);
    this.pending.delete(id);
    if (id > 0 && idleMs >= 200) this.idleLoad = Math.max(this.idleLoad, idleLoad);
    if (error === undefined) entry?.resolve(result);
    else entry?.reject(new Error(`${this.name}: ${error}`));
  }

  private fail(error: Error): void {
    this.ended ??= error;
    for (const { reject } of this.pending.values()) reject(this.ended);
    this.pending.clear();
  }
}
