import { describe, expect, it } from 'vitest';
import { tensorOf } from '../types.ts';
import type { HeldDevice } from './gpu-device.ts';
import { GpuSession } from './gpu-session.ts';
import type { GpuBuffer, GpuDevice } from './gpu-types.ts';
import type { OnnxModel } from './lower/lower-by.ts';
import { Replicas } from './replicas.ts';
import { Queue } from './web-calls.ts';

/** A device whose buffers are arrays. */
function fakeDevice(): { device: GpuDevice; bytes: (buffer: GpuBuffer) => Uint8Array } {
  const contents = new Map<GpuBuffer, Uint8Array>();
  const bytes = (buffer: GpuBuffer) => contents.get(buffer)!;
  const device: GpuDevice = {
    lost: new Promise(() => {}),
    queue: {
      writeBuffer: (buffer, at, data, start, length) => bytes(buffer).set(new Uint8Array(data, start, length), at),
      submit() {},
    },
    createBuffer({ size }) {
      const buffer: GpuBuffer = {
        size,
        mapAsync: async () => {},
        getMappedRange: () => bytes(buffer).buffer as ArrayBuffer,
        unmap() {},
        destroy: () => void contents.delete(buffer),
      };
      contents.set(buffer, new Uint8Array(size));
      return buffer;
    },
    createCommandEncoder: () => ({
      copyBufferToBuffer: (from, start, to, at, length) =>
        bytes(to).set(bytes(from).subarray(start, start + length), at),
      finish: () => null,
    }),
    destroy() {},
  };
  return { device, bytes };
}

interface FakeTensor {
  readonly dims: readonly number[];
  readonly buffer?: GpuBuffer;
  readonly data?: Float32Array | BigInt64Array;
}

/** A session that doubles `x` for each id, and forgets what it should copy where `isFaulty`. */
function fakeSession({ isFaulty = false } = {}) {
  const { device, bytes } = fakeDevice();
  const runs: string[] = [];
  const recorded = new Map<string, () => void>();
  const session = {
    async run(
      feeds: Record<string, FakeTensor>,
      given: Record<string, FakeTensor> | { extra: { gpu_graph_id: string } },
      options?: { extra: { gpu_graph_id: string } },
    ) {
      const { extra } = options ?? (given as { extra: { gpu_graph_id: string } });
      const id = extra?.gpu_graph_id ?? 'none';
      const numbers = ({ buffer, data }: FakeTensor) =>
        buffer ? new Float32Array(bytes(buffer).buffer) : (data as Float32Array);
      if (!options) {
        runs.push(`plain ${id}`);
        return { y: { data: Float32Array.from(numbers(feeds.x), (x) => 2 * x), dims: feeds.x.dims } };
      }
      const fetches = given as Record<string, FakeTensor>;
      const compute = () => new Float32Array(bytes(fetches.y.buffer!).buffer).set(numbers(feeds.x).map((x) => 2 * x));
      const known = recorded.get(id);
      runs.push(`${known ? 'played' : 'recorded'} ${id}`);
      if (known) known();
      else {
        compute();
        recorded.set(id, isFaulty ? () => {} : compute);
      }
      return fetches;
    },
    async release() {},
  };
  const runtime = {
    Tensor: Object.assign(
      class {
        readonly data: Float32Array;
        readonly dims: readonly number[];
        constructor(_: string, data: Float32Array, dims: readonly number[]) {
          this.data = data;
          this.dims = dims;
        }
      },
      { fromGpuBuffer: (buffer: GpuBuffer, { dims }: { dims: readonly number[] }) => ({ buffer, dims }) },
    ),
  };
  const held: HeldDevice = { device, replicas: new Replicas(device), lost: null };
  const model = { inputs: new Set(['ids', 'x']), lengths: new Map(), dimsOf: (_: string, dims: number[]) => dims };
  const graph = new GpuSession({
    ...{ runtime: runtime as never, session: session as never, model: model as unknown as OnnxModel },
    ...{ held, queue: new Queue(), captures: true },
  });
  const step = async (numbers: readonly number[], tokens = 1) => {
    const x = tensorOf(Float32Array.from(numbers), [numbers.length]);
    const { y } = await graph.run({ ids: tensorOf(new BigInt64Array(tokens), [1, tokens]), x });
    return [...y.data];
  };
  return { step, runs };
}

describe('steps on a GPU', () => {
  it('are recorded when their shapes are those of the last ones, and played with other numbers', async () => {
    const { step, runs } = fakeSession();
    for (let i = 0; i < 6; i++) expect(await step([i, i + 1, i - 9])).toEqual([2 * i, 2 * i + 2, 2 * i - 18]);
    // The first one that is played is held against a plain one.
    expect(runs).toEqual(['plain -1', 'plain -1', 'recorded 0', 'played 0', 'plain -1', 'played 0', 'played 0']);
    expect(await step([1, 2])).toEqual([2, 4]);
    expect(await step([5, 6, 7])).toEqual([10, 12, 14]);
    expect(runs.slice(-2)).toEqual(['plain -1', 'played 0']);
  });

  it('are not recorded where they are chunks of a prompt', async () => {
    const { step, runs } = fakeSession();
    for (let i = 0; i < 4; i++) expect(await step([i], 8)).toEqual([2 * i]);
    expect(new Set(runs)).toEqual(new Set(['plain -1']));
  });

  it('are not played any more where that gives something else', async () => {
    const { step, runs } = fakeSession({ isFaulty: true });
    for (let i = 0; i < 7; i++) expect(await step([i + 1])).toEqual([2 * i + 2]);
    expect(runs.slice(2)).toEqual(['recorded 0', 'played 0', 'plain -1', 'plain -1', 'plain -1', 'plain -1']);
  });

  it('of many shapes keep the recordings of sixteen', async () => {
    const { step, runs } = fakeSession();
    for (let size = 1; size <= 20; size++)
      for (let i = 0; i < 3; i++) expect(await step(new Array(size).fill(i))).toEqual(new Array(size).fill(2 * i));
    expect(runs.filter((run) => run.startsWith('recorded'))).toHaveLength(16);
  });
});
