/**
 * @file Memory for the results of a graph's operators: on the CPU, or on a device and the CPU.
 */
import { EngineError } from '../../util/errors.ts';
import type { CpuBackend } from './cpu-backend.ts';
import type { Pointer } from './functions.ts';
import type { Ggml } from './ggml.ts';
import { NativeHandle } from './native.ts';

/** `struct ggml_cgraph` begins with three ints: size, nodes, leaves. */
const LEAVES = 8;

/** A graph's memory. */
export interface GraphMemory {
  readonly handle: NativeHandle;
  /** What shares the graph between a device and the CPU; null: it runs on the CPU. */
  readonly scheduler: Pointer;
  readonly bytes: number;
}

/** @throws EngineError where there is not as much memory. */
export function allocateGraph(ggml: Ggml, { pointer, devicePointer }: CpuBackend, graph: Pointer): GraphMemory {
  return devicePointer
    ? share(ggml, [devicePointer, pointer], graph)
    : allocate(ggml, ggml.ggml_backend_get_default_buffer_type(pointer), graph);
}

function allocate(ggml: Ggml, buffer: Pointer, graph: Pointer): GraphMemory {
  const allocator = ggml.ggml_gallocr_new(buffer);
  const handle = new NativeHandle('graph', () => ggml.ggml_gallocr_free(allocator));
  if (!ggml.ggml_gallocr_alloc_graph(allocator, graph)) refuse(handle);
  return { handle, scheduler: null, bytes: ggml.ggml_gallocr_get_buffer_size(allocator, 0) };
}

/** Each operator goes to the device if it computes it, otherwise to the CPU, which is the last of `backends`. */
function share(ggml: Ggml, backends: readonly Pointer[], graph: Pointer): GraphMemory {
  const list = new BigUint64Array(backends.map((backend) => BigInt(backend!)));
  const size = ggml.ggml_graph_n_nodes(graph) + (ggml.koffi.decode(graph, LEAVES, 'int') as number);
  const scheduler = ggml.ggml_backend_sched_new(list, null, backends.length, size, false, false);
  const handle = new NativeHandle('graph', () => ggml.ggml_backend_sched_free(scheduler));
  if (!ggml.ggml_backend_sched_alloc_graph(scheduler, graph)) refuse(handle);
  const bytes = backends.reduce((sum, backend) => sum + ggml.ggml_backend_sched_get_buffer_size(scheduler, backend), 0);
  return { handle, scheduler, bytes };
}

function refuse(handle: NativeHandle): never {
  handle.dispose();
  throw new EngineError('there is no memory for the work of this step: shorten the chunk, or the cache');
}
