/**
 * @file A model's weights in memory. The prepared file is mapped, and files of a checkpoint whose matrices are kept as
 * they are; matrices that this processor has a faster layout for are copied into it once, and their pages of the file
 * are given back. Rows of embeddings are read from the file, so a tied head is in memory once, too.
 */
import { join } from 'node:path';
import { EngineError, GraphError } from '../../../util/errors.ts';
import { product } from '../../../util/numbers.ts';
import { pieceName } from '../../../weights/prepared/keep-stored.ts';
import type { PreparedWeights, StoredParam } from '../../../weights/types.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { useLargePages } from '../binding/libc.ts';
import { NativeHandle } from '../binding/native.ts';
import { GGML_TYPES, type GgmlType, rowBytes } from '../binding/types.ts';
import { deviceMemory, fitsDevice, fitsPlain } from '../memory/device-memory.ts';
import { fastBufferFor } from '../memory/fast-buffers.ts';
import { MappedFile } from '../memory/mapped-file.ts';
import type { Tensor } from '../memory/tensor.ts';
import { TensorContext } from '../memory/tensor-context.ts';
import { layoutOf, placeTensor } from './processor-layout.ts';
import { headName } from './weight-codec.ts';

/** How a graph uses a parameter. */
export interface WeightUse {
  readonly name: string;
  /** Read as it is, multiplied with, or multiplied with by those tokens that chose one of `experts`. */
  readonly as: 'plain' | 'matrix' | 'stack';
  readonly experts?: number;
}

/** Matrices that are rearranged at the same time. */
const PARALLEL = 2;
const BUFFER_OF_WEIGHTS = 1;
/** Bytes of a device that weights leave free. */
const DEVICE_RESERVE = 256e6;

export class GgmlWeights {
  readonly #ggml: Ggml;
  readonly #device: Pointer;
  readonly #params: ReadonlyMap<string, StoredParam>;
  /** The prepared file, and files of the checkpoint, by path. */
  readonly #files = new Map<string, MappedFile>();
  readonly #prepared: string;
  readonly #tensors = new Map<string, Promise<Tensor>>();
  readonly #owned: { dispose(): void }[] = [];
  #rearranged = 0;

  /**
   * @param device in whose memory the weights of products are. @default null: the CPU's
   * @throws WeightsError where the file can't be mapped.
   */
  constructor(ggml: Ggml, weights: PreparedWeights, device: Pointer = null) {
    this.#ggml = ggml;
    this.#device = device;
    this.#params = weights.params;
    this.#prepared = join(weights.file.folder, weights.file.name);
    for (const { path = this.#prepared } of weights.params.values()) {
      if (this.#files.has(path)) continue;
      const file = new MappedFile(ggml, path);
      this.#files.set(path, file);
      this.#owned.push(file);
    }
  }

  /** Bytes of copies in a layout of the processor's. */
  get rearranged(): number {
    return this.#rearranged;
  }

  /**
   * The tensors for some uses, in their order.
   * @throws EngineError where there is no memory for them.
   */
  async open(uses: readonly WeightUse[]): Promise<Tensor[]> {
    const stored = uses.map((use) => this.#storedUses(use));
    const tensors = await this.#openStored(stored.flat());
    return stored.map((pieces) => sideBySide(tensors.splice(0, pieces.length)));
  }

  /** A matrix may be stored as several, or once more for its products. */
  #storedUses(use: WeightUse): WeightUse[] {
    if (use.as !== 'matrix') return [use];
    const head = headName(use.name);
    if (this.#params.has(head)) return [{ ...use, name: head }];
    if (this.#params.has(use.name)) return [use];
    const pieces: WeightUse[] = [];
    for (let i = 0; this.#params.has(pieceName(use.name, i)); i++)
      pieces.push({ ...use, name: pieceName(use.name, i) });
    return pieces.length > 0 ? pieces : [use];
  }

  async #openStored(uses: readonly WeightUse[]): Promise<Tensor[]> {
    const fast = new Map<bigint, WeightUse[]>();
    const mapped = new Map<string, WeightUse>();
    for (const use of uses) {
      if (this.#tensors.has(keyOf(use))) continue;
      const buffer = this.#bufferFor(use);
      if (!buffer) mapped.set(keyOf(use), use);
      else if (!fast.get(buffer)?.some((other) => keyOf(other) === keyOf(use)))
        fast.set(buffer, [...(fast.get(buffer) ?? []), use]);
    }
    this.#map(mapped);
    for (const [buffer, group] of fast) {
      const copied = this.#rearrange(buffer, group);
      for (const [i, use] of group.entries())
        this.#tensors.set(
          keyOf(use),
          copied.then((tensors) => tensors[i]),
        );
    }
    return Promise.all(uses.map((use) => this.#tensors.get(keyOf(use))!));
  }

  dispose(): void {
    for (const owned of this.#owned.reverse()) owned.dispose();
    this.#owned.length = 0;
    this.#tensors.clear();
  }

  #param(name: string): StoredParam {
    const param = this.#params.get(name);
    if (!param) throw new GraphError(`the prepared weights have no parameter ${name}`);
    return param;
  }

  #fileOf({ path = this.#prepared }: StoredParam): MappedFile {
    return this.#files.get(path)!;
  }

  /** The type of the buffer that a parameter is copied to; null: it stays in the file. */
  #bufferFor(use: WeightUse): Pointer {
    const param = this.#param(use.name);
    if (use.as === 'plain') return this.#device && fitsPlain(param) ? this.#deviceBuffer() : null;
    if (this.#layoutOf(param, use)) return null;
    const matrix = matrixOf(param, use);
    if (this.#device && fitsDevice(this.#ggml, this.#device, matrix)) return this.#deviceBuffer();
    return fastBufferFor(this.#ggml, matrix);
  }

  /** Tensors over pages of files, by their keys. */
  #map(uses: ReadonlyMap<string, WeightUse>): void {
    if (uses.size === 0) return;
    const context = new TensorContext(this.#ggml, uses.size);
    this.#owned.push(context);
    for (const [key, use] of uses) {
      const param = this.#param(use.name);
      const tensor = describe(this.#ggml, context, param, use);
      const address = this.#fileOf(param).address + BigInt(param.offset);
      const layout = this.#layoutOf(param, use);
      if (layout) placeTensor(context, tensor.pointer, layout, address);
      else this.#ggml.ggml_backend_tensor_alloc(this.#ggml.hostBuffer, tensor.pointer, address);
      this.#tensors.set(key, Promise.resolve(tensor));
    }
  }

  /**
   * The processor's layout that a parameter lies in; null: blocks row after row, which products do not take for one.
   * @throws GraphError for a layout of another processor.
   */
  #layoutOf(param: StoredParam, use: WeightUse) {
    const { type, rows, cols } = matrixOf(param, use);
    const layout = use.as === 'matrix' && !this.#device ? layoutOf(this.#ggml, type, rows, cols) : null;
    if (param.layout === undefined) return layout?.keepsOrder ? layout : null;
    if (layout?.id !== param.layout || !layout)
      throw new GraphError(`${param.name} is stored as ${param.layout}, which can't be read as it is used here`);
    return layout;
  }

  #deviceBuffer(): Pointer {
    return this.#device && this.#ggml.ggml_backend_dev_buffer_type(this.#device);
  }

  /** A device whose memory is full ends the process in the middle of a step, so some of it stays free. */
  #checkDeviceMemory(uses: readonly WeightUse[]): void {
    const needed = uses.reduce((sum, { name }) => sum + this.#param(name).length, 0);
    const { free } = deviceMemory(this.#ggml, this.#device);
    if (needed + DEVICE_RESERVE > free)
      throw new EngineError(
        `the weights take ${(needed / 1e9).toFixed(2)} GB, but ${this.#ggml.ggml_backend_dev_name(this.#device)} has ` +
          `${(free / 1e9).toFixed(2)} GB free, of which ${DEVICE_RESERVE / 1e9} GB are for the work of steps: choose a ` +
          "smaller format with the option weights, or the option device: 'cpu'",
      );
  }

  async #rearrange(type: Pointer, uses: readonly WeightUse[]): Promise<Tensor[]> {
    const ggml = this.#ggml;
    const context = new TensorContext(ggml, uses.length);
    const tensors = uses.map((use) => describe(ggml, context, this.#param(use.name), use));
    const isHost = ggml.ggml_backend_buft_is_host(type) || type !== this.#deviceBuffer();
    if (!isHost) this.#checkDeviceMemory(uses);
    const buffer = ggml.ggml_backend_alloc_ctx_tensors_from_buft(context.pointer, type);
    if (!buffer) throw new EngineError('there is no memory for the weights');
    ggml.ggml_backend_buffer_set_usage(buffer, BUFFER_OF_WEIGHTS);
    if (isHost)
      useLargePages(ggml, ggml.ggml_backend_buffer_get_base(buffer), ggml.ggml_backend_buffer_get_size(buffer));
    this.#rearranged += ggml.ggml_backend_buffer_get_size(buffer);
    this.#owned.push(context, new NativeHandle('weights', () => ggml.ggml_backend_buffer_free(buffer)));
    const queue = [...uses.keys()];
    const work = async (): Promise<void> => {
      for (let i = queue.shift(); i !== undefined; i = queue.shift()) {
        const param = this.#param(uses[i].name);
        const file = this.#fileOf(param);
        await ggml.setTensor(tensors[i].pointer, file.address + BigInt(param.offset), param.length);
        file.forget(param.offset, param.length);
      }
    };
    await Promise.all(Array.from({ length: isHost ? PARALLEL : 1 }, work));
    return tensors;
  }
}

/** One matrix of several below each other. */
function sideBySide(pieces: readonly Tensor[]): Tensor {
  if (pieces.length === 1) return pieces[0];
  const rows = pieces.reduce((sum, { dims }) => sum + dims[0], 0);
  return { ...pieces[0], pointer: null, dims: [rows, pieces[0].dims[1]], pieces };
}

const keyOf = ({ name, as, experts }: WeightUse): string => `${as} ${experts ?? ''} ${name}`;

function matrixOf({ dtype, shape }: StoredParam, { as, experts }: WeightUse) {
  const cols = shape[shape.length - 1];
  const rows = product(shape) / cols;
  const count = as === 'stack' ? experts! : null;
  return { type: dtype as GgmlType, rows: rows / (count ?? 1), cols, experts: count };
}

/** A parameter as a tensor, which has no address yet. */
export function describe(ggml: Ggml, context: TensorContext, param: StoredParam, use: WeightUse): Tensor {
  const { type, rows, cols, experts } = matrixOf(param, use);
  const dims = use.as === 'plain' ? param.shape : experts === null ? [rows, cols] : [experts, rows, cols];
  const at = (axis: number): number => dims[dims.length - 1 - axis] ?? 1;
  const pointer = ggml.ggml_new_tensor_4d(context.pointer, GGML_TYPES[type], at(0), at(1), at(2), at(3));
  const row = rowBytes(type, at(0));
  const strides = [rowBytes(type, 1), row, row * at(1), row * at(1) * at(2)];
  return { pointer, type, dims, strides, refined: param.refined };
}
