/**
 * @file A weight file of the hub that is read while it is downloaded: its bytes are in memory until what needs them is
 * complete.
 */
import type { ByteSource, TensorRange } from '../checkpoint/types.ts';
import type { HubFile } from '../hub/files.ts';
import type { HubHttp } from '../hub/http.ts';
import { readRange } from '../hub/range.ts';
import { fill, type PartialContent, wrongChecksum } from '../hub/transfer.ts';
import { CheckpointError } from '../util/errors.ts';
import type { Sha256State } from '../util/sha256.ts';
import { ByteRanges, type Span } from './byte-ranges.ts';
import { ContentHash } from './content-hash.ts';
import type { Outline } from './outline.ts';

export interface StreamedFileOptions {
  readonly http: HubHttp;
  readonly url: string;
  /** The model on the hub, for messages. */
  readonly id: string;
  readonly commit: string;
  readonly file: HubFile;
  /** What is known of the file already; what is read while it is opened, and samples, are added. */
  readonly outline: Outline;
  readonly onBytes?: (have: number) => void;
  /** Called before a request for what a parameter needs. */
  readonly onRequest?: () => void;
  /**
   * Bytes that come before they are asked for: the connection is not idle while a tensor is quantized. @default 4 MiB
   */
  readonly aheadBytes?: number;
  /** Beyond this, the oldest bytes are dropped. What still needs them asks for them again. @default 256 MiB */
  readonly mostHeldBytes?: number;
}

/** Where a download can go on: all before it was used, and is in the checksum. */
export interface StreamPoint {
  readonly at: number;
  readonly hash: Sha256State;
  /** What was used behind it, too. */
  readonly used: readonly Span[];
}

/** Ends a request that nothing waits for. */
const PAUSED = new Error('paused');

interface Chunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** The checksum of all before it. */
  readonly hash: Sha256State | null;
}

interface Waiter {
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

interface Passing {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly done: (bytes: Uint8Array) => void;
  readonly failed: (error: unknown) => void;
}

export class StreamedFile implements ByteSource, PartialContent {
  readonly name: string;
  readonly stamp: string;
  readonly size: number;
  /** Bytes that have come. */
  have = 0;
  /** It came whole, and is another file than the hub lists. */
  isWrong = false;
  readonly outline: Outline;
  readonly #options: StreamedFileOptions;
  readonly #aheadBytes: number;
  readonly #mostHeldBytes: number;
  #hash: ContentHash;
  #isOpening = true;
  #tensors: readonly TensorRange[] = [];
  /** Bytes that nothing will ask for. */
  #used = new ByteRanges();
  /** Read for a parameter that is not complete yet. */
  #reads: Span[] = [];
  /** In order. */
  #held: Chunk[] = [];
  #heldBytes = 0;
  /** The end of what was asked for. */
  #wanted = 0;
  #waiters: (Waiter & { readonly end: number })[] = [];
  #passing: Passing[] = [];
  #running: Promise<void> | null = null;
  #isPaused = false;
  #goOn: () => void = () => {};
  #point: StreamPoint | null = null;

  constructor(options: StreamedFileOptions) {
    const { id, commit, file, outline } = options;
    this.#options = options;
    this.#aheadBytes = options.aheadBytes ?? 4 << 20;
    this.#mostHeldBytes = options.mostHeldBytes ?? 256 << 20;
    this.name = `${id}: ${file.path}`;
    this.stamp = `${id}@${commit}/${file.path}`;
    this.size = file.size;
    this.outline = outline;
    this.#hash = new ContentHash(file);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const end = offset + length;
    if (!(offset >= 0 && length >= 0 && end <= this.size))
      throw new CheckpointError(
        `${this.name}: ${length} bytes at ${offset} were asked for, but it has ${this.size} bytes`,
      );
    const known = this.outline.get(offset, length);
    if (known) return known;
    const isFar = this.#isOpening && offset > this.have + this.#aheadBytes;
    if (!isFar) await this.#reach(end);
    const bytes = this.#take(offset, length) ?? (await this.#fetch(offset, length));
    if (this.#isOpening) this.outline.set(offset, bytes);
    else this.#reads.push([offset, end]);
    return bytes;
  }

  async readPassing(offset: number, length: number): Promise<Uint8Array> {
    const known = this.outline.get(offset, length);
    if (known) return known;
    const there = Math.max(0, Math.min(length, this.have - offset));
    const start = this.#take(offset, there);
    const bytes =
      start && there < length
        ? await new Promise<Uint8Array>((done, failed) => {
            const bytes = new Uint8Array(length);
            bytes.set(start);
            this.#passing.push({ offset, bytes, done, failed });
          })
        : (start ?? (await this.#fetch(offset, length)));
    this.outline.set(offset, bytes);
    return bytes;
  }

  onTensors(ranges: readonly TensorRange[]): void {
    this.#tensors = ranges;
    const gaps: Span[] = [];
    let end = 0;
    for (const { offset, length } of [...ranges].sort((a, b) => a.offset - b.offset)) {
      gaps.push([end, offset]);
      end = offset + length;
    }
    this.#used.add([...gaps, [end, this.size]]);
  }

  /** From now on, what is read belongs to parameters. */
  endOpening(): void {
    this.#isOpening = false;
  }

  /** Nothing needs tensors of these names. */
  skip(isUnused: (name: string) => boolean): void {
    const unused = this.#tensors.filter(({ name }) => isUnused(name));
    this.#used.add(unused.map(({ offset, length }) => [offset, offset + length]));
  }

  /** What was read is not needed again: the download can go on from here. */
  complete(): void {
    this.#release();
    const [first] = this.#held;
    const hash = first ? first.hash : this.#hash.state;
    if (hash) this.#point = { at: first?.offset ?? this.have, hash, used: this.#used.spans };
  }

  /** Where the download can go on after a break; null: from the beginning. */
  get point(): StreamPoint | null {
    return this.#point;
  }

  /** Goes on from a point. @returns false where the download has begun. */
  resume(point: StreamPoint): boolean {
    if (this.#running || this.have > 0) return false;
    this.have = this.#wanted = point.at;
    this.#hash = new ContentHash(this.#options.file, point.hash);
    this.#used.add(point.used);
    this.#used.add([[0, point.at]]);
    this.#point = point;
    return true;
  }

  /** What is left comes without being asked for. */
  async readAll(): Promise<void> {
    await this.#reach(this.size);
  }

  /** Reads what is left. @throws HubError where the file is not the one that the hub lists. */
  async finish(): Promise<void> {
    await this.readAll();
    this.isWrong = !(await this.#hash.matches());
    if (this.isWrong) throw wrongChecksum(this.#options.id, this.#options.file.path);
  }

  /** Asks for samples that have passed without being asked for, or never will pass. */
  async askForPassing(): Promise<void> {
    for (const { offset, bytes, done, failed } of this.#passing.splice(0))
      await this.#fetch(offset, bytes.length).then(done, failed);
  }

  /** Ends the request with the next bytes, unless something is read before. */
  pause(): void {
    this.#isPaused = this.#running !== null;
    this.#goOn();
  }

  async close(): Promise<void> {
    this.pause();
    this.#held = [];
    this.#heldBytes = 0;
  }

  /** Bytes of the download, in order. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#isPaused) throw PAUSED;
    const offset = this.have;
    const end = offset + bytes.length;
    const hash = this.#hash.state;
    this.#hash.update(bytes);
    if (!this.#used.covers(offset, end)) {
      this.#held.push({ offset, bytes, hash });
      this.#heldBytes += bytes.length;
    }
    this.have = end;
    this.#givePassing(offset, bytes);
    const ready = this.#waiters.filter((waiter) => waiter.end <= end);
    this.#waiters = this.#waiters.filter((waiter) => waiter.end > end);
    for (const { done } of ready) done();
    if (this.#heldBytes > this.#mostHeldBytes) this.#release();
    while (this.#heldBytes > this.#mostHeldBytes) this.#heldBytes -= this.#held.shift()!.bytes.length;
    while (end < this.size && end >= this.#wanted + this.#aheadBytes && !this.#isPaused)
      await new Promise<void>((goOn) => {
        this.#goOn = goOn;
      });
    if (this.#isPaused) throw PAUSED;
  }

  async restart(): Promise<void> {
    this.have = 0;
    this.#held = [];
    this.#heldBytes = 0;
    this.#hash = new ContentHash(this.#options.file);
  }

  #fetch(offset: number, length: number): Promise<Uint8Array> {
    const { http, url, id, commit, file } = this.#options;
    return readRange(
      http,
      { url, subject: { id, revision: commit, file: file.path }, name: this.name },
      offset,
      length,
    );
  }

  /** Waits until the file has come up to `end`. @throws HubError; the signal's reason. */
  async #reach(end: number): Promise<void> {
    this.#wanted = Math.max(this.#wanted, end);
    this.#isPaused = false;
    this.#goOn();
    if (this.have >= end) return;
    const come = new Promise<void>((done, failed) => this.#waiters.push({ end, done, failed }));
    this.#running ??= this.#stream();
    await come;
  }

  async #stream(): Promise<void> {
    const { http, url, id, commit, file, onBytes = () => {}, onRequest } = this.#options;
    if (!this.#isOpening) onRequest?.();
    try {
      await fill(http, { url, file, subject: { id, revision: commit, file: file.path }, onBytes }, this);
    } catch (error) {
      if (error !== PAUSED) for (const { failed } of this.#waiters.splice(0)) failed(error);
    }
    this.#isPaused = false;
    this.#running = this.#waiters.length > 0 ? this.#stream() : null;
  }

  /** A copy of bytes that are held; null: some are not. */
  #take(offset: number, length: number): Uint8Array | null {
    const out = new Uint8Array(length);
    let [low, high] = [0, this.#held.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#held[middle].offset <= offset) low = middle + 1;
      else high = middle;
    }
    let at = offset;
    for (let i = Math.max(0, low - 1); i < this.#held.length && at < offset + length; i++) {
      const { offset: start, bytes } = this.#held[i];
      if (start > at) return null;
      const part = bytes.subarray(at - start, offset + length - start);
      out.set(part, at - offset);
      at += part.length;
    }
    return at === offset + length ? out : null;
  }

  #givePassing(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    this.#passing = this.#passing.filter((each) => {
      const [from, to] = [Math.max(offset, each.offset), Math.min(end, each.offset + each.bytes.length)];
      if (from < to) each.bytes.set(bytes.subarray(from - offset, to - offset), from - each.offset);
      if (from >= to || end < each.offset + each.bytes.length) return true;
      each.done(each.bytes);
      return false;
    });
  }

  #release(): void {
    this.#used.add(this.#reads);
    this.#reads = [];
    this.#held = this.#held.filter(({ offset, bytes }) => !this.#used.covers(offset, offset + bytes.length));
    this.#heldBytes = this.#held.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
}
