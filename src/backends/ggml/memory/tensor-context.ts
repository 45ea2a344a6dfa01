/**
 * @file A context of ggml: the memory that the descriptions of tensors and graphs lie in. It is a typed array of ours,
 * so fields of tensors are read and written without calls.
 */
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { NativeHandle } from '../binding/native.ts';
import { TENSOR } from '../binding/tensor-layout.ts';

/** `GGML_MAX_SRC` */
export const MOST_SOURCES = 10;

/** Memory for what ggml puts beside each object, and for alignment. */
const SLACK = 4096;

/**
 * Memory of a graph that was freed, for the next one: V8 collects it late, and graphs of 0.8 MB follow each other in a
 * prompt.
 */
let freed: WeakRef<Uint8Array<ArrayBuffer>> | null = null;

function takeFreed(size: number): Uint8Array<ArrayBuffer> | null {
  const memory = freed?.deref();
  if (!memory || memory.byteLength < size || memory.byteLength > 2 * size) return null;
  freed = null;
  return memory;
}

export class TensorContext {
  readonly pointer: Pointer;
  readonly #ggml: Ggml;
  /** Of the memory. */
  readonly #size: number;
  readonly #fields: DataView;
  readonly #start: bigint;
  readonly #handle: NativeHandle;

  /**
   * @param tensors how many tensors, views included, are made in it at most: more would end the process, so callers
   * count.
   * @param nodes of a graph in it; 0: none.
   */
  constructor(ggml: Ggml, tensors: number, nodes = 0) {
    const graph = nodes > 0 ? ggml.ggml_graph_overhead_custom(nodes, false) : 0;
    const size = tensors * ggml.ggml_tensor_overhead() + graph + SLACK;
    const memory = (graph > 0 ? takeFreed(size) : null) ?? new Uint8Array(size);
    const pointer = ggml.ggml_init({ mem_size: size, mem_buffer: memory, no_alloc: true });
    this.#ggml = ggml;
    this.#size = size;
    this.#fields = new DataView(memory.buffer);
    this.#start = ggml.addressOf(memory);
    this.pointer = pointer;
    // The memory is referred to by the closure, so it lives as long as the context.
    this.#handle = new NativeHandle('context', () => {
      ggml.ggml_free(pointer);
      if (graph > 0) freed = new WeakRef(memory);
    });
  }

  /** Bytes that are left for tensors. */
  get headroom(): number {
    return this.#size - this.#ggml.ggml_used_mem(this.pointer);
  }

  /** Lengths of the axes, the innermost first. */
  shape(tensor: Pointer): [number, number, number, number] {
    const at = this.#at(tensor) + TENSOR.shape;
    const length = (axis: number): number => Number(this.#fields.getBigInt64(at + 8 * axis, true));
    return [length(0), length(1), length(2), length(3)];
  }

  /** Bytes from one index of an axis to the next. */
  strides(tensor: Pointer): [number, number, number, number] {
    const at = this.#at(tensor) + TENSOR.strides;
    const stride = (axis: number): number => Number(this.#fields.getBigUint64(at + 8 * axis, true));
    return [stride(0), stride(1), stride(2), stride(3)];
  }

  typeOf(tensor: Pointer): number {
    return this.#fields.getInt32(this.#at(tensor) + TENSOR.type, true);
  }

  /** Where the tensor's values are; null before they have an address. */
  data(tensor: Pointer): bigint | null {
    return this.#fields.getBigUint64(this.#at(tensor) + TENSOR.data, true) || null;
  }

  /** Moves a tensor, and with it nothing else: views of it are for the caller to move. */
  setData(tensor: Pointer, address: bigint): void {
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.data, address, true);
  }

  viewSource(tensor: Pointer): bigint | null {
    return this.#fields.getBigUint64(this.#at(tensor) + TENSOR.viewSource, true) || null;
  }

  viewOffset(tensor: Pointer): bigint {
    return this.#fields.getBigUint64(this.#at(tensor) + TENSOR.viewOffset, true);
  }

  /** Makes a tensor a part of another one's memory. */
  setView(tensor: Pointer, source: Pointer, offset: number): void {
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.viewSource, source ?? 0n, true);
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.viewOffset, BigInt(offset), true);
  }

  /**
   * Makes a tensor one of other numbers, of a type's code, in the same memory.
   * @param shape the innermost axis first. @param strides in bytes.
   */
  setLayout(tensor: Pointer, type: number, shape: readonly number[], strides: readonly number[]): void {
    const at = this.#at(tensor);
    this.#fields.setInt32(at + TENSOR.type, type, true);
    for (let axis = 0; axis < 4; axis++) {
      this.#fields.setBigInt64(at + TENSOR.shape + 8 * axis, BigInt(shape[axis]), true);
      this.#fields.setBigUint64(at + TENSOR.strides + 8 * axis, BigInt(strides[axis]), true);
    }
  }

  /** Sets one of the up to {@link MOST_SOURCES} tensors that an operator reads, or comes after. */
  setSource(tensor: Pointer, index: number, source: Pointer): void {
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.sources + 8 * index, source ?? 0n, true);
  }

  /** Makes a tensor the result of the operator that another one is the result of. */
  copyOperator(tensor: Pointer, from: Pointer): void {
    const operator = this.#fields.getInt32(this.#at(from) + TENSOR.operator, true);
    this.#fields.setInt32(this.#at(tensor) + TENSOR.operator, operator, true);
  }

  /** What a buffer notes of a tensor in it; null: nothing. */
  extra(tensor: Pointer): bigint | null {
    return this.#fields.getBigUint64(this.#at(tensor) + TENSOR.extra, true) || null;
  }

  setExtra(tensor: Pointer, extra: bigint): void {
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.extra, extra, true);
  }

  /** null: the tensor has no address yet. */
  buffer(tensor: Pointer): bigint | null {
    return this.#fields.getBigUint64(this.#at(tensor) + TENSOR.buffer, true) || null;
  }

  setBuffer(tensor: Pointer, buffer: Pointer): void {
    this.#fields.setBigUint64(this.#at(tensor) + TENSOR.buffer, buffer ?? 0n, true);
  }

  dispose(): void {
    this.#handle.dispose();
  }

  #at(tensor: Pointer): number {
    return Number(BigInt(tensor!) - this.#start);
  }
}
