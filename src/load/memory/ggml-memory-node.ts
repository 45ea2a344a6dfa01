/**
 * @file What the ggml engine takes. What a chunk takes is asked of ggml itself, which plans the memory of a graph
 * before it runs.
 */
import { openGgml } from '../../backends/ggml/binding/binding.ts';
import type { GgmlType } from '../../backends/ggml/binding/types.ts';
import { ggmlBackend } from '../../backends/ggml/ggml-backend.ts';
import { stepBytes } from '../../backends/ggml/graph/step-bytes.ts';
import { fastBufferFor } from '../../backends/ggml/memory/fast-buffers.ts';
import { layoutOf } from '../../backends/ggml/weights/processor-layout.ts';
import { ggmlCodec } from '../../backends/ggml/weights/weight-codec.ts';
import { type Config, isEncoder } from '../../config/config.ts';
import { FILL } from '../../kvcache/slots/table-parts.ts';
import { INPUT, LENGTH } from '../../ops/step-names.ts';
import { product, range } from '../../util/numbers.ts';
import { MIX_BITS } from '../../weights/formats/mix.ts';
import type { Param } from '../../weights/types.ts';
import type { EngineMemory, PlannedChunk, PlannedStep, ResidentWeights } from './engine-memory.ts';

const MB = 1e6;
/** Node 20, the library, koffi and ggml with their code, before any model. */
const BASE = 80 * MB;
/**
 * What a node of the graph takes: the records of the trace, and the descriptions of ggml's tensors in the graphs that
 * are kept.
 */
const PER_NODE = 10_000;

/** Small things, and arrays of chunks that V8 has not collected yet, at most. */
const SMALL = 4 * MB;
const GARBAGE = 10 * MB;

/**
 * Around a row of the embedding that is read the system maps the pages of so many bytes, if they are in its cache: 2 MB
 * where Linux 6.18 has a file that was just written in large pages, 64 KB otherwise. This is between the two: 2,000 rows
 * of a table of 279 MB mapped all of it, and in a later run half.
 */
const MAPPED_AROUND = 1 << 17;

/** Slots by which a cache grows. */
const GROWTH = 64;

export const ggmlMemory: EngineMemory = {
  name: 'ggml',
  target: ggmlBackend.target,
  fileBytes: (params) => params.flatMap(bytesOf).reduce((sum, bytes) => sum + bytes, 0),
  resident,
  runtime: (_, graph) => BASE + PER_NODE * graph.nodes.length,
  step,
  // All graphs share the memory of the largest.
  garbage: ({ chunks, chunkBytes }) => SMALL + Math.min(GARBAGE, 2 * chunks * chunkBytes),
};

/** Of each tensor of a parameter. */
function bytesOf(param: Param): number[] {
  const parts = ggmlCodec.parts(param);
  // The formats of the mix are chosen by errors, so that they come near to this mean. A head's is mostly none that a
  // processor has an order of its own for.
  if (param.format === 'int4' && param.stored === undefined) return [(product(param.shape) * MIX_BITS) / 8];
  return parts.map(({ length }) => length);
}

function resident(config: Config, params: readonly Param[], tokens: number): ResidentWeights {
  const bytes = { private: 0, mapped: 0 };
  for (const param of params) {
    const [size, head] = bytesOf(param);
    if (param.role === 'embedding') {
      const isOwnHead = config.tieEmbeddings && head === undefined;
      const isCopied = isOwnHead && copies(param);
      if (isCopied) bytes.private += size;
      bytes.mapped += (isOwnHead && !isCopied ? size : touched(size, tokens)) + (head ?? 0);
    } else if (param.role === 'linear' && copies(param)) bytes.private += size;
    else bytes.mapped += size;
  }
  return bytes;
}

/**
 * Whether a matrix is copied once into a layout of this processor's, after which its pages of the file are given back:
 * matrices of a GGUF file that is used as it is, and experts. Prepared files hold the others in it.
 */
function copies(param: Param): boolean {
  const parts = ggmlCodec.parts(param);
  if (param.stored === undefined && parts.some(({ layout }) => layout !== undefined)) return false;
  const [{ dtype }] = parts;
  const ggml = openGgml();
  const cols = param.shape[param.shape.length - 1];
  const matrix = { type: dtype as GgmlType, rows: product(param.shape) / cols, cols };
  return fastBufferFor(ggml, matrix) !== null && !layoutOf(ggml, matrix.type, matrix.rows, cols)?.keepsOrder;
}

/** What of a table is in memory after so many rows of it were read, each anywhere in it. */
function touched(size: number, rows: number): number {
  const windows = Math.max(1, size / MAPPED_AROUND);
  return size * (1 - (1 - 1 / windows) ** rows);
}

function step({ config, cache, graph, contextLength, tokens, length: T }: PlannedChunk): PlannedStep {
  const lengths: Record<string, number> = { B: cache.batch, T };
  const filled: Record<string, number> = {};
  const before = Math.max(0, (Math.floor(contextLength / tokens) - 1) * tokens);
  if (!isEncoder(config)) {
    for (const [name, table] of cache.store.tables) {
      lengths[LENGTH.groups(name)] = table.groups;
      const limits = cache.store.limits.memoryFor(table, before + T, cache.batch);
      const budgets = cache.store.limits.at(table, before);
      const held = (g: number) => Math.min(budgets[g], before);
      const slotsOf = (g: number) => {
        const wanted = held(g) + T;
        const fitting = Math.min(limits[g], Math.ceil(wanted / GROWTH) * GROWTH);
        return Math.max(1, fitting, cache.store.limits.withChunk(limits[g], wanted));
      };
      const fill = table.gathers ? FILL : 1;
      for (const part of table.parts) {
        filled[INPUT.slots(part.name)] = Math.max(...part.groups.map(held));
        lengths[LENGTH.slots(part.name)] = Math.ceil(Math.max(...part.groups.map(slotsOf)) / fill) * fill;
      }
      lengths[LENGTH.stored(name)] = cache.batch * range(table.groups).reduce((sum, g) => sum + slotsOf(g), 0);
    }
  }
  // The cache is empty: nothing was evicted where all tokens so far fit at once.
  const canPlace = cache.store.states.isEmpty && !cache.replay && cache.placesChunk(before + T);
  const { bytes, isPlaced } = stepBytes(graph, lengths, filled, canPlace);
  // The chunk's own, and those of the chunk before, which can be taken back.
  return { bytes, chunkCopies: isPlaced ? 0 : 2 };
}
