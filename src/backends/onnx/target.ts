/**
 * @file What ONNX Runtime's operators want of a traced model: blocks of 32 values, and fused experts where they fit.
 */
import type { GraphTarget } from '../../ops/target.ts';
import { QUANT_BLOCK } from '../../weights/formats/quantize.ts';
import type { WeightFormat } from '../../weights/types.ts';

const OWN_NAMES: Readonly<Partial<Record<WeightFormat, WeightFormat>>> = {
  float32: 'float32',
  int8: 'int8',
  int4: 'int4',
  q8_0: 'int8',
  q4_0: 'int4',
};

export const onnxTarget: GraphTarget = {
  slotBlocks: null,
  // q8_0 and q4_0 are blocks of 32 values with one scale, too; here it is a float32.
  held: (format) => OWN_NAMES[format] ?? null,
  stacksHeadExperts: false,
  // Rows of an embedding are dequantized by GatherBlockQuantized, which takes whole blocks only.
  weightFormat: ({ role, cols }, format) => (role === 'embedding' && cols % QUANT_BLOCK !== 0 ? 'float32' : format),
  // MoE and QMoE compute experts that are gated by SiLU, or clamped, in whole blocks.
  expertLayout: ({ activation, size, gated, clamp, scaledInput }, width, format) => {
    const whole = format === 'float32' || (width % QUANT_BLOCK === 0 && size % QUANT_BLOCK === 0);
    const fused = clamp !== null || (gated && activation === 'silu');
    return fused && !scaledInput && whole ? 'interleaved' : 'apart';
  },
};

/**
 * What a GPU wants: nothing that the processor has to decide while a step runs. Its memory is smaller than the
 * processor's.
 */
export const onnxGpuTarget: GraphTarget = { ...onnxTarget, staticGraph: true, int8Parameters: 600e6 };

/** What the WebAssembly build wants: it has no fast product for blocks of 32, and a session copies the weights. */
export const onnxWebTarget: GraphTarget = {
  ...onnxTarget,
  byteRows: true,
  // float32 is faster and exact, but takes four times the memory, and twice that while a session is made.
  float32Parameters: 150e6,
  // int8 is bytes with a scale for each row here.
  held: (format) => (format === 'q8_0' ? null : onnxTarget.held(format)),
  weightFormat: (matrix, format) => (format === 'int8' ? 'int8' : onnxTarget.weightFormat(matrix, format)),
  // QMoE wants blocks of 32.
  expertLayout: (experts, width, format) =>
    format === 'int8' ? 'apart' : onnxTarget.expertLayout(experts, width, format),
};
