/**
 * @file A session of ONNX Runtime on a GPU. A step of the same shapes on the same cache as the last ones is captured:
 * its commands are recorded once, and played again with other numbers in the same buffers.
 */
import { GraphError } from '../../util/errors.ts';
import type { CompiledGraph, StepInputs, StepOutput, StepOutputs, StepTensor, TensorData } from '../types.ts';
import type { HeldDevice } from './gpu-device.ts';
import { BUFFER_USAGE, bufferSize, type GpuBuffer, type GpuDevice, MAP_MODE } from './gpu-types.ts';
import type { OnnxModel } from './lower/lower-by.ts';
import { dtypeOf, lengthsOf, type OnnxDtype } from './onnx-session.ts';
import type { Queue } from './web-calls.ts';

/** Its recorded commands and buffers stay as long as the session. */
const MAX_CAPTURED = 16;
/** Steps of the same shapes, one after the other, before one is recorded. */
const BEFORE_CAPTURE = 2;
/** The first run of a recorded step records it. */
const FIRST_PLAY = 2;
/** A run that is neither recorded nor played. */
const UNCAPTURED: RunOptions = { extra: { gpu_graph_id: '-1' } };
/** Of the largest number of an output; the same commands give the same numbers, as a rule. */
const TOLERANCE = 1e-4;

/** A tensor of ONNX Runtime. */
type OrtTensor = object;

interface RunOptions {
  readonly extra?: { readonly gpu_graph_id: string };
}

/** What of ONNX Runtime makes tensors. */
export interface GpuRuntime {
  readonly Tensor: {
    new (dtype: OnnxDtype, data: TensorData, dims: readonly number[]): OrtTensor;
    fromGpuBuffer(
      buffer: GpuBuffer,
      options: { readonly dataType: OnnxDtype; readonly dims: readonly number[] },
    ): OrtTensor;
  };
}

/** What of a session is used. */
export interface OrtSession {
  run(feeds: Readonly<Record<string, OrtTensor>>, options: RunOptions): Promise<unknown>;
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor>>,
    options: RunOptions,
  ): Promise<unknown>;
  release(): Promise<void>;
}

export interface GpuSessionOptions {
  readonly runtime: GpuRuntime;
  readonly session: OrtSession;
  readonly model: OnnxModel;
  readonly held: HeldDevice;
  readonly queue: Queue;
  /** Whether the session was made for it. */
  readonly captures: boolean;
}

/** An input of a step. */
interface Bound {
  readonly name: string;
  readonly input: StepTensor;
  readonly dims: readonly number[];
  /** Slots of a cache that are on the GPU. */
  readonly buffer: GpuBuffer | null;
}

export class GpuSession implements CompiledGraph {
  readonly #options: GpuSessionOptions;
  readonly #captured = new Map<string, CapturedStep>();
  #lastKey = '';
  #repeats = 0;
  /** Whether a step that was played gave something else than one that was not. */
  #isFaulty = false;

  constructor(options: GpuSessionOptions) {
    this.#options = options;
  }

  /** @throws errors of this library. */
  run(inputs: StepInputs): Promise<StepOutputs> {
    const { queue } = this.#options;
    return queue.run('the step', 0, () => this.#run(this.#bind(inputs)));
  }

  dispose(): Promise<void> {
    const { queue, session } = this.#options;
    for (const step of this.#captured.values()) step.dispose();
    return queue.run('ending the session', 0, () => session.release());
  }

  async #run(bound: readonly Bound[]): Promise<StepOutputs> {
    if (!this.#options.captures) return this.#runOnce(bound, {});
    if (this.#isFaulty) return this.#runOnce(bound, UNCAPTURED);
    const key = keyOf(bound);
    const known = this.#captured.get(key);
    if (known) return this.#play(known, bound);
    const outputs = await this.#runOnce(bound, UNCAPTURED);
    this.#repeats = key === this.#lastKey ? this.#repeats + 1 : 1;
    this.#lastKey = key;
    if (this.#repeats >= BEFORE_CAPTURE && this.#captured.size < MAX_CAPTURED && canCapture(bound, outputs))
      this.#captured.set(key, new CapturedStep(this.#options, this.#captured.size, bound, outputs));
    return outputs;
  }

  /** Commands that are played for the first time are held against a run that is not recorded. */
  async #play(step: CapturedStep, bound: readonly Bound[]): Promise<StepOutputs> {
    const outputs = await step.run(bound);
    if (step.runs !== FIRST_PLAY) return outputs;
    const expected = await this.#runOnce(bound, UNCAPTURED);
    if (areAlike(outputs, expected)) return outputs;
    // What was recorded lacks something, as copies between buffers would be.
    this.#isFaulty = true;
    return expected;
  }

  async #runOnce(bound: readonly Bound[], options: RunOptions): Promise<StepOutputs> {
    const { runtime, session } = this.#options;
    const feeds = Object.fromEntries(
      bound.map(({ name, input: { data }, dims, buffer }) => [
        name,
        buffer ? onGpu(runtime, buffer, 'float32', dims) : new runtime.Tensor(dtypeOf(data), data, dims),
      ]),
    );
    return (await session.run(feeds, options)) as StepOutputs;
  }

  #bind(inputs: StepInputs): Bound[] {
    const { model, held } = this.#options;
    return [...model.inputs].map((name) => {
      const input = inputs[name] ?? lengthsOf(model, name, inputs);
      if (!input) throw new GraphError(`the step has no input ${name}`);
      return { name, input, dims: model.dimsOf(name, input.dims), buffer: held.replicas.update(input) };
    });
  }
}

const onGpu = (
  { Tensor }: GpuSessionOptions['runtime'],
  buffer: GpuBuffer,
  dataType: OnnxDtype,
  dims: readonly number[],
): OrtTensor => Tensor.fromGpuBuffer(buffer, { dataType, dims });

/** Says all that recorded commands depend on: shapes, and the buffers of slots. */
function keyOf(bound: readonly Bound[]): string {
  return bound.map(({ dims, buffer }) => `${dims}${buffer ? `@${idOf(buffer)}` : ''}`).join(' ');
}

const ids = new WeakMap<GpuBuffer, number>();
let made = 0;
function idOf(buffer: GpuBuffer): number {
  let id = ids.get(buffer);
  if (id === undefined) {
    id = made++;
    ids.set(buffer, id);
  }
  return id;
}

/** A chunk of a prompt is computed long enough; nothing that is recorded may be empty. */
function canCapture(bound: readonly Bound[], outputs: StepOutputs): boolean {
  const tokens = bound.find(({ name }) => name === 'ids')?.dims.at(-1) ?? 0;
  const all = [...bound, ...Object.values(outputs)];
  return tokens === 1 && all.every(({ dims }) => !dims.includes(0));
}

/** Whether two runs of the same step gave the same. */
function areAlike(a: StepOutputs, b: StepOutputs): boolean {
  return Object.entries(a).every(([name, { data }]) => {
    const other = b[name].data;
    const largest = other.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    return data.every((x, i) => Math.abs(x - other[i]) <= TOLERANCE * largest || Object.is(x, other[i]));
  });
}

/** Commands that ONNX Runtime recorded, and the buffers that they read and write. */
class CapturedStep {
  readonly #options: GpuSessionOptions;
  readonly #run: RunOptions;
  readonly #feeds: Record<string, OrtTensor> = {};
  readonly #fetches: Record<string, OrtTensor> = {};
  /** Of the inputs that are no slots. */
  readonly #given = new Map<string, GpuBuffer>();
  readonly #results: { readonly name: string; readonly dims: readonly number[]; readonly buffer: GpuBuffer }[] = [];
  /** All results behind each other: each reading waits for the GPU. */
  readonly #reader: GpuBuffer;
  runs = 0;

  /** @param outputs of a step of the same shapes. */
  constructor(options: GpuSessionOptions, id: number, bound: readonly Bound[], outputs: StepOutputs) {
    const { runtime, held } = options;
    const { device } = held;
    this.#options = options;
    this.#run = { extra: { gpu_graph_id: String(id) } };
    for (const { name, input, dims, buffer } of bound) {
      const own = buffer ?? bufferFor(device, input.data.byteLength);
      if (!buffer) this.#given.set(name, own);
      this.#feeds[name] = onGpu(runtime, own, dtypeOf(input.data), dims);
    }
    let size = 0;
    for (const [name, { data, dims }] of Object.entries(outputs)) {
      const buffer = bufferFor(device, data.byteLength);
      this.#results.push({ name, dims: [...dims], buffer });
      this.#fetches[name] = onGpu(runtime, buffer, 'float32', dims);
      size += data.byteLength;
    }
    this.#reader = device.createBuffer({ size, usage: BUFFER_USAGE.mapRead | BUFFER_USAGE.copyTarget });
  }

  async run(bound: readonly Bound[]): Promise<StepOutputs> {
    const { session, held } = this.#options;
    const { queue } = held.device;
    for (const { name, input } of bound) {
      const buffer = this.#given.get(name);
      if (!buffer) continue;
      const { data } = input;
      const whole = data.byteLength % 4 === 0;
      const bytes = new Uint8Array(whole ? 0 : bufferSize(data.byteLength));
      if (!whole) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      const from = whole ? data : bytes;
      queue.writeBuffer(buffer, 0, from.buffer, from.byteOffset, from.byteLength);
    }
    await session.run(this.#feeds, this.#fetches, this.#run);
    this.runs++;
    return this.#read();
  }

  dispose(): void {
    for (const buffer of [...this.#given.values(), ...this.#results.map(({ buffer }) => buffer), this.#reader])
      buffer.destroy();
  }

  async #read(): Promise<StepOutputs> {
    const { device } = this.#options.held;
    const commands = device.createCommandEncoder();
    let at = 0;
    for (const { buffer, dims } of this.#results) {
      const bytes = bytesOf(dims);
      commands.copyBufferToBuffer(buffer, 0, this.#reader, at, bytes);
      at += bytes;
    }
    device.queue.submit([commands.finish()]);
    await this.#reader.mapAsync(MAP_MODE.read);
    const numbers = new Float32Array(this.#reader.getMappedRange().slice(0));
    this.#reader.unmap();
    let start = 0;
    const outputs: Record<string, StepOutput> = {};
    for (const { name, dims } of this.#results) {
      const end = start + bytesOf(dims) / Float32Array.BYTES_PER_ELEMENT;
      outputs[name] = { data: numbers.subarray(start, end), dims };
      start = end;
    }
    return outputs;
  }
}

const bytesOf = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, Float32Array.BYTES_PER_ELEMENT);

/** A buffer that operators read and write. */
const bufferFor = (device: GpuDevice, bytes: number): GpuBuffer =>
  device.createBuffer({ size: bufferSize(bytes), usage: BUFFER_USAGE.operators });
