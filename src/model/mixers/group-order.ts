/**
 * @file A layer's heads by the parts of its groups that attend to slots of their own.
 */
import { concat, split } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import type { Value } from '../../ops/types.ts';
import { range } from '../../util/numbers.ts';

/** Groups of a layer that come after one another, in one part. */
interface GroupRun {
  readonly part: number;
  readonly first: number;
  readonly count: number;
}

/** Takes a layer's groups apart, into parts that attend to slots of their own, and puts them together again. */
export class GroupOrder {
  readonly #g: OpGraph;
  readonly #parts: number;
  /** In the order of the groups. */
  readonly #runs: readonly GroupRun[];
  readonly #groups: number;

  /** @param parts groups of each, ascending; each group is in one of them. */
  constructor(g: OpGraph, parts: readonly (readonly number[])[]) {
    const runs: GroupRun[] = [];
    const partOf = new Map(parts.flatMap((groups, part) => groups.map((group) => [group, part] as const)));
    for (const group of range(partOf.size)) {
      const part = partOf.get(group)!;
      const last = runs.at(-1);
      if (last?.part === part) runs[runs.length - 1] = { ...last, count: last.count + 1 };
      else runs.push({ part, first: group, count: 1 });
    }
    this.#g = g;
    this.#parts = parts.length;
    this.#runs = runs;
    this.#groups = partOf.size;
  }

  /** Heads, slopes and sinks of each part. @param heads [B, heads, T, D], the same number of each group. */
  split(
    heads: readonly Value[],
    alibi: Float32Array | null,
    sinks: Value | null,
  ): { heads: readonly Value[]; alibi: Float32Array | null; sinks: Value | null }[] {
    if (this.#parts === 1) return [{ heads, alibi, sinks }];
    const apart = heads.map((x) => this.#pieces(x, 1));
    const ownSinks = sinks && this.#pieces(sinks, 0);
    return range(this.#parts).map((part) => ({
      heads: apart.map((list) => list[part]),
      alibi: alibi && this.#slopesOf(alibi, part),
      sinks: ownSinks?.[part] ?? null,
    }));
  }

  /** The parts' values in the order of the groups. */
  join(values: readonly Value[], axis: number): Value {
    if (this.#parts === 1) return values[0];
    const pieces = values.map((value, part) => {
      const counts = this.#runsOf(part).map(({ count }) => count);
      const each = (value.shape[axis] as number) / counts.reduce((a, b) => a + b, 0);
      return counts.length === 1
        ? [value]
        : split(
            this.#g,
            value,
            axis,
            counts.map((count) => count * each),
          );
    });
    return concat(
      this.#g,
      this.#runs.map((run) => pieces[run.part][this.#runsOf(run.part).indexOf(run)]),
      axis,
    );
  }

  #runsOf(part: number): GroupRun[] {
    return this.#runs.filter((run) => run.part === part);
  }

  /** What each part has of a value. */
  #pieces(x: Value, axis: number): Value[] {
    const each = (x.shape[axis] as number) / this.#groups;
    const pieces = split(
      this.#g,
      x,
      axis,
      this.#runs.map(({ count }) => count * each),
    );
    return range(this.#parts).map((part) => {
      const own = pieces.filter((_, i) => this.#runs[i].part === part);
      return own.length === 1 ? own[0] : concat(this.#g, own, axis);
    });
  }

  #slopesOf(alibi: Float32Array, part: number): Float32Array {
    const each = alibi.length / this.#groups;
    return Float32Array.from(
      this.#runsOf(part).flatMap(({ first, count }) => [...alibi.subarray(first * each, (first + count) * each)]),
    );
  }
}
