/**
 * @file The weight files of a checkpoint that are read while they are downloaded: in which order, and where to go on
 * after a break.
 */
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts';
import type { PrepareRequest } from '../load/model-plan.ts';
import type { Param } from '../weights/types.ts';
import type { StreamedFile, StreamPoint } from './streamed-file.ts';

/** Where each file can go on, by its path. */
export type DownloadPoints = Readonly<Record<string, StreamPoint>>;

/** Remembers which tensors were asked for. */
class WatchedTensors extends Map<string, StoredTensor> {
  readonly asked = new Set<string>();

  override get(name: string): StoredTensor | undefined {
    const tensor = super.get(name);
    if (tensor) this.asked.add(name);
    return tensor;
  }
}

export class WeightDownload {
  readonly checkpoint: Checkpoint;
  readonly #tensors: WatchedTensors;
  readonly #files: ReadonlyMap<string, StreamedFile>;

  /** @param files by their paths, in the order in which they are downloaded. */
  constructor(checkpoint: Checkpoint, files: ReadonlyMap<string, StreamedFile>) {
    this.#tensors = new WatchedTensors(checkpoint.tensors);
    this.checkpoint = { ...checkpoint, tensors: this.#tensors };
    this.#files = files;
  }

  /** Parameters in the order in which the last of their tensors comes. Tensors that none of them uses are not held. */
  order({ specs, source }: Pick<PrepareRequest, 'specs' | 'source'>): readonly Param[] {
    const indices = new Map([...this.#tensors.keys()].map((name, i) => [name, i]));
    const used = new Set<string>();
    const last = new Map<Param, number>();
    for (const spec of specs) {
      this.#tensors.asked.clear();
      source(spec);
      let index = -1;
      for (const name of this.#tensors.asked) {
        used.add(name);
        index = Math.max(index, indices.get(name)!);
      }
      last.set(spec, index);
    }
    for (const file of this.#files.values()) file.skip((name) => indices.has(name) && !used.has(name));
    return [...specs].sort((a, b) => last.get(a)! - last.get(b)!);
  }

  /** A parameter is complete. */
  complete(): void {
    for (const file of this.#files.values()) file.complete();
  }

  /** null: some file can't be continued. */
  get points(): DownloadPoints | null {
    const points: Record<string, StreamPoint> = {};
    for (const [path, { point }] of this.#files) {
      if (!point) return null;
      points[path] = point;
    }
    return points;
  }

  /** @returns false where the download has begun already, or is of other files. */
  resume(points: DownloadPoints): boolean {
    const files = [...this.#files];
    const canResume = files.every(([path, file]) => points[path] && file.have === 0);
    return canResume && files.every(([path, file]) => file.resume(points[path]));
  }

  /** A file is not the one that the hub lists, so nothing that was made of it is good. */
  get isWrong(): boolean {
    return [...this.#files.values()].some(({ isWrong }) => isWrong);
  }

  /** Bytes of all files. */
  get size(): number {
    return [...this.#files.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes that have come. */
  get bytes(): number {
    return [...this.#files.values()].reduce((sum, { have }) => sum + have, 0);
  }

  /** Reads what is left of all files. @throws HubError where a file is not the one that the hub lists. */
  async finish(): Promise<void> {
    for (const file of this.#files.values()) await file.finish();
  }
}
