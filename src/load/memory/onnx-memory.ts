/**
 * @file What ONNX Runtime takes: fitted to measured peaks on Linux and x86-64.
 */
import { lowerToOnnx } from '../../backends/onnx/lower/lower.ts';
import { onnxTarget } from '../../backends/onnx/target.ts';
import { type Config, isEncoder, slotLayers } from '../../config/config.ts';
import type { GraphTarget } from '../../ops/target.ts';
import { readTokens } from '../../step/replay.ts';
import { product } from '../../util/numbers.ts';
import { bitsOf, ggmlFormatOf, isGgmlFormat } from '../../weights/formats/ggml-formats.ts';
import { QUANT_BLOCK } from '../../weights/formats/quantize.ts';
import { layOut } from '../../weights/prepared/layout.ts';
import type { Param } from '../../weights/types.ts';
import type { EngineMemory, PlannedChunk, ResidentWeights } from './engine-memory.ts';

const MB = 1e6;
/** Node 20, the library and ONNX Runtime 1.30 with their code, before any model. */
const BASE = 97 * MB;
/** What the graph takes: of each layer, and of each node. */
const PER_LAYER = 1.3 * MB;
const PER_NODE = 17_000;
/** Copies of the scores: of each operator its input and output, and what the allocator can not use again. */
const SCORES = 3;
/**
 * Rows of the MLP's width: both halves together, each by itself, activated and multiplied; and the allocator's share.
 */
const MLP_ROWS = 7;

/** Small things, and garbage that V8 has not collected yet. */
const SLACK = 10 * MB;
const GARBAGE = 16 * MB;

/** Has a format for every matrix also where the model's is one of ggml's. */
const target: GraphTarget = {
  ...onnxTarget,
  weightFormat: (matrix, format) =>
    isGgmlFormat(format) ? (ggmlFormatOf(format, matrix) ?? 'float32') : onnxTarget.weightFormat(matrix, format),
};

/**
 * - runtime: 97 MB + 1.3 MB a layer + 17 kB a node of the graph
 * - private: matrices that are multiplied: float32 as stored; int8 and int4 with 8 bytes for every 32 values (scale and
 *   sum)
 * - mapped: the embedding, the scales, the norms
 * - graph: 3 · 4·B·H·T·(C + T) for attention scores, 7 · 4·B·T·F for the MLP, with B rows, H query heads, T tokens of a
 *   chunk, C slots held before it, F the width of the MLP
 */
export const onnxMemory: EngineMemory = {
  name: 'onnx',
  target,
  fileBytes,
  resident,
  runtime: (config, graph) => BASE + PER_LAYER * config.nLayer + PER_NODE * lowerToOnnx(graph).nodeCount,
  // Copies: made by layer, put together, handed over, those of chunks before, and the allocator's share.
  step: (chunk) => ({ bytes: graphBytes(chunk), chunkCopies: 8 }),
  garbage: ({ chunks, chunkBytes }) => SLACK + Math.min(GARBAGE, chunkBytes * chunks),
};

function fileBytes(params: readonly Param[]): number {
  const named = params.reduce(
    (sum, { format, shape }) => (isGgmlFormat(format) ? sum + (product(shape) * bitsOf(format)) / 8 : sum),
    0,
  );
  return named + layOut(params.filter(({ format }) => !isGgmlFormat(format))).size;
}

function resident(config: Config, params: readonly Param[]): ResidentWeights {
  const bytes = { private: 0, mapped: 0 };
  for (const param of params) {
    const size = fileBytes([param]);
    const embedding = param.role === 'embedding';
    const multiplied = param.role === 'linear' || (embedding && config.tieEmbeddings);
    const blocks =
      param.format === 'float32' || isGgmlFormat(param.format)
        ? 0
        : param.shape[0] * Math.ceil(param.shape[1] / QUANT_BLOCK);
    // Beside the values, a copy has a scale and a sum for each block; the file has the scale.
    if (multiplied) bytes.private += size + 4 * blocks;
    if (multiplied && !embedding) bytes.mapped += 4 * blocks;
    else bytes.mapped += size;
  }
  return bytes;
}

function graphBytes({ config, cache, contextLength, tokens: chunk, length: T }: PlannedChunk): number {
  const budget = isEncoder(config)
    ? 0
    : Math.max(0, ...[...cache.store.tables.values()].map((table) => Math.max(...table.budgets)));
  /** Scores of a chunk that ends at a token. */
  const scoresAt = (end: number, tokens: number) => {
    const read = readTokens(cache, tokens);
    return read * (Math.min(budget, end - tokens) + read);
  };
  const whole = Math.floor(contextLength / chunk);
  const H = Math.max(0, ...slotLayers(config).map(({ slots }) => slots.heads));
  const scores = Math.max(scoresAt(whole * chunk, chunk), scoresAt(contextLength, contextLength - whole * chunk));
  return SCORES * 4 * cache.batch * H * scores + MLP_ROWS * 4 * cache.batch * T * mlpWidth(config);
}

/** Values of the widest MLP for one token; experts that are chosen work one after the other. */
function mlpWidth({ layers }: Config): number {
  const widths = layers.map(({ mlp }) =>
    mlp?.kind === 'moe' ? Math.max(mlp.experts.size * mlp.router.perToken, mlp.shared?.size ?? 0) : (mlp?.size ?? 0),
  );
  return Math.max(0, ...widths);
}
