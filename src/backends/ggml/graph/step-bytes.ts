/**
 * @file The memory of a step, before it runs and without its weights: ggml plans a graph of the same lengths.
 */
import { EMPTY_SLOT } from '../../../kvcache/slots/slots.ts';
import type { OpGraph } from '../../../ops/graph.ts';
import { lengthOf } from '../../../ops/shapes.ts';
import type { Value } from '../../../ops/types.ts';
import { product } from '../../../util/numbers.ts';
import type { RunOptions, StepTensor, TensorData } from '../../types.ts';
import { openGgml } from '../binding/binding.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { slotBytes, slotFormats } from '../lower/slot-blocks.ts';
import { isPlaced, joinableSlots, placingGraph, slotUse } from '../lower/slot-use.ts';
import { TensorContext } from '../memory/tensor-context.ts';
import { ggmlCodec } from '../weights/weight-codec.ts';
import { describe } from '../weights/weights.ts';
import { ConcreteGraph, type FindWeight } from './concrete-graph.ts';
import { computedGraph } from './session.ts';

/** Any address: nothing is read there. */
const NOWHERE = 4096n;

/** What a step takes. */
export interface PlannedGraph {
  /** Results of its operators, and masks. */
  readonly bytes: number;
  /** Whether the chunk's keys and values are in the slots alone. */
  readonly isPlaced: boolean;
}

/**
 * Plans a step. No memory is touched.
 * @param lengths of the named axes; those that are not there are 1.
 * @param filled slots in use, by name of the input.
 * @param placesChunk whether the chunk's keys and values stay in the slots, see {@link RunOptions.placesChunk}.
 * @throws EngineError where ggml is not there, or the system has not as much address space.
 */
export function stepBytes(
  traced: OpGraph,
  lengths: Readonly<Record<string, number>>,
  filled: Readonly<Record<string, number>>,
  placesChunk = false,
): PlannedGraph {
  const ggml = openGgml();
  const computed = computedGraph(traced);
  const placing = placesChunk ? placingGraph(computed) : null;
  const blocks = slotFormats(computed);
  const inputs = Object.fromEntries(
    computed.inputs.map((value) => {
      const dims = value.shape.map((dim) => lengthOf(dim, lengths));
      const format = blocks.get(value.name);
      if (value.dtype === 'uint8' && format) dims[dims.length - 1] = slotBytes(format);
      return [value.name, emptyInput(value, dims, filled[value.name])];
    }),
  );
  const contexts: TensorContext[] = [];
  const weights: FindWeight = (name, as, experts) => {
    const context = new TensorContext(ggml, 1);
    contexts.push(context);
    const [part] = ggmlCodec.parts(computed.params.get(name)!);
    const tensor = describe(ggml, context, { ...part, offset: 0 }, { name, as, experts });
    ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, tensor.pointer, NOWHERE);
    return tensor;
  };
  const joinable = joinableSlots(computed);
  const slots = slotUse(joinable, inputs);
  const placed = isPlaced(joinable, slots) ? placing : null;
  const backend = new CpuBackend(ggml, 1);
  try {
    const compiled = ConcreteGraph.make({ ggml, backend, graph: placed ?? computed, weights, inputs, slots });
    compiled.dispose();
    return { bytes: compiled.bytes, isPlaced: placed !== null };
  } finally {
    for (const context of contexts) context.dispose();
    void backend.dispose();
  }
}

function emptyInput({ dtype }: Value, dims: readonly number[], filled: number | undefined): StepTensor {
  const data = emptyData(dtype, product(dims));
  const slots = dims.at(-1)!;
  if (filled !== undefined && data instanceof Float32Array)
    for (let at = 0; at < data.length; at += slots) data.fill(EMPTY_SLOT, at + Math.min(filled, slots), at + slots);
  return { data, dims };
}

function emptyData(dtype: Value['dtype'], size: number): TensorData {
  if (dtype === 'float32') return new Float32Array(size);
  if (dtype === 'float16') return new Uint16Array(size);
  if (dtype === 'int32') return new Int32Array(size);
  return dtype === 'int64' ? new BigInt64Array(size) : new Uint8Array(size);
}
