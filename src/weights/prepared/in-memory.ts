/**
 * @file Prepared weights in memory, one array for each tensor, until they are read: for browsers, where files can't be
 * mapped.
 */
import { WeightsError } from '../../util/errors.ts';
import { scaledBlocks, type WeightCodec } from '../codec.ts';
import type { ParamSpec, PreparedWeights, RowSource } from '../types.ts';
import { layOut } from './layout.ts';
import { prepareWeights, type WeightProgress } from './prepare.ts';

export interface InMemoryOptions<S extends ParamSpec> {
  readonly specs: readonly S[];
  readonly source: (spec: S) => RowSource;
  /** @default scaledBlocks */
  readonly codec?: WeightCodec;
  readonly onProgress?: (progress: WeightProgress) => void;
  readonly signal?: AbortSignal;
}

/** A tensor of the prepared weights. */
interface Tensor<S> {
  readonly spec: S;
  readonly offset: number;
  readonly length: number;
  /** null: not made yet, or given away. */
  bytes: Uint8Array | null;
}

/**
 * Prepares weights in memory. Reading gives a tensor's array away, so that memory has it once; it is prepared again
 * from the checkpoint when it is read again, as a second graph does.
 * @throws what reading the checkpoint throws.
 */
export async function prepareInMemory<S extends ParamSpec>(options: InMemoryOptions<S>): Promise<PreparedWeights> {
  const { specs, source, codec = scaledBlocks, onProgress, signal } = options;
  const layout = layOut(specs, codec);
  const tensors = specs.flatMap((spec) =>
    codec.parts(spec).map(({ name }): Tensor<S> => {
      const { offset, length } = layout.params.get(name)!;
      return { spec, offset, length, bytes: null };
    }),
  );
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
  const sink = async (bytes: Uint8Array, offset: number) => {
    const tensor = find(offset);
    tensor.bytes ??= new Uint8Array(tensor.length);
    tensor.bytes.set(bytes, offset - tensor.offset);
  };
  await prepareWeights({ specs, source, codec, layout, sink, onProgress, signal });
  const remake = async (spec: S) => {
    try {
      await prepareWeights({ specs: [spec], source, codec, layout, sink });
    } catch (error) {
      // What was made of it so far is no tensor.
      for (const tensor of tensors) if (tensor.spec === spec) tensor.bytes = null;
      throw error;
    }
  };
  return {
    ...layout,
    file: { folder: '', name: 'weights.bin' },
    async read(offset, length) {
      const tensor = find(offset);
      if (tensor.offset !== offset || tensor.length !== length)
        throw new WeightsError(`${length} bytes at ${offset} of the prepared weights are not those of one tensor`);
      if (!tensor.bytes) await remake(tensor.spec);
      const bytes = tensor.bytes!;
      tensor.bytes = null;
      return bytes;
    },
  };
}
