/**
 * @file What ONNX Runtime's operators want of a traced model: blocks of 32 values, and fused experts where they fit.
 */
import type { GraphTarget } from '../../ops/target.ts';
import { byteGroupSize } from '../../weights/byte-groups.ts';
import { QUANT_BLOCK } from '../../weights/quantise.ts';

export const onnxTarget: GraphTarget = {
  slotBlocks: false,
  stacksHeadExperts: false,
  // Rows of an embedding are dequantized by GatherBlockQuantized, which takes whole blocks only.
  weightFormat: (role, format, _, cols) => (role === 'embedding' && cols % QUANT_BLOCK !== 0 ? 'float32' : format),
  // MoE and QMoE compute experts that are gated by SiLU, or clamped, in whole blocks.
  expertLayout: ({ activation, size, gated, clamp, scaledInput }, width, format) => {
    const whole = format === 'float32' || (width % QUANT_BLOCK === 0 && size % QUANT_BLOCK === 0);
    const fused = clamp !== null || (gated && activation === 'silu');
    return fused && !scaledInput && whole ? 'interleaved' : 'apart';
  },
};

/** What the WebAssembly build wants: it has no fast product for blocks of 32, and a session copies the weights. */
export const onnxWebTarget: GraphTarget = {
  ...onnxTarget,
  byteGroups: true,
  // float32 is faster and exact, but takes four times the memory, and twice that while a session is made.
  float32Parameters: 150e6,
  weightFormat: (role, format, rows, cols) => {
    if (format === 'int8') return byteGroupSize(cols) === null ? 'float32' : 'int8';
    return onnxTarget.weightFormat(role, format, rows, cols);
  },
  // QMoE wants blocks of 32.
  expertLayout: (experts, width, format) =>
    format === 'int8' ? 'apart' : onnxTarget.expertLayout(experts, width, format),
};
