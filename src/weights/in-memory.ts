/**
 * @file Prepared weights in memory, one array for each tensor: for browsers, where files can't be mapped.
 */
import { WeightsError } from '../util/errors.ts';
import { scaledBlocks, type WeightCodec } from './codec.ts';
import { layOut } from './layout.ts';
import { prepareWeights, type WeightProgress } from './prepare.ts';
import type { ParamSpec, PreparedWeights, RowSource } from './types.ts';

export interface InMemoryOptions<S extends ParamSpec> {
  readonly specs: readonly S[];
  readonly source: (spec: S) => RowSource;
  /** @default scaledBlocks */
  readonly codec?: WeightCodec;
  readonly onProgress?: (progress: WeightProgress) => void;
  readonly signal?: AbortSignal;
}

/** Prepares weights in memory. @throws what reading the checkpoint throws. */
export async function prepareInMemory<S extends ParamSpec>(options: InMemoryOptions<S>): Promise<PreparedWeights> {
  const { codec = scaledBlocks } = options;
  const layout = layOut(options.specs, codec);
  const tensors = [...layout.params.values()].map(({ offset, length }) => ({ offset, bytes: new Uint8Array(length) }));
  /** The tensor that an offset lies in. */
  const find = (offset: number) => {
    let [low, high] = [0, tensors.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (tensors[middle].offset <= offset) low = middle;
      else high = middle - 1;
    }
    return tensors[low];
  };
  await prepareWeights({
    ...options,
    codec,
    layout,
    async sink(bytes, offset) {
      const tensor = find(offset);
      tensor.bytes.set(bytes, offset - tensor.offset);
    },
  });
  return {
    ...layout,
    file: { folder: '', name: 'weights.bin' },
    async read(offset, length) {
      const tensor = find(offset);
      const start = offset - tensor.offset;
      if (start + length > tensor.bytes.length)
        throw new WeightsError(`${length} bytes at ${offset} of the prepared weights are not those of one tensor`);
      return tensor.bytes.subarray(start, start + length);
    },
  };
}
