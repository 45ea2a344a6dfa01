/**
 * @file The graphics card of a browser. It can be lost: its driver restarts, the system takes it back, or its memory is
 * full.
 */
import { GraphError } from '../../util/errors.ts';
import type { GpuDevice } from './gpu-types.ts';
import { Replicas } from './replicas.ts';

interface GpuAdapter {
  readonly features: ReadonlySet<string>;
  readonly limits: Readonly<Record<string, number>>;
  requestDevice(request: object): Promise<GpuDevice>;
}

interface Gpu {
  requestAdapter(options: object): Promise<GpuAdapter | null>;
}

/** Of each, ONNX Runtime uses as much as there is. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const;
const FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as const;
/** A device says that it is lost soon after the call that failed because of it. */
const LOSS_MS = 1000;

/** A device, and whether it is still there. */
export interface HeldDevice {
  readonly device: GpuDevice;
  readonly replicas: Replicas;
  /** Why it is gone; null: it is there. */
  lost: string | null;
}

/** @throws GraphError where the browser has no WebGPU, or no graphics card that this page may use. */
export async function openDevice(): Promise<HeldDevice> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) throw new GraphError("this browser has no WebGPU; load the model for WebAssembly (device: 'wasm')");
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter)
    throw new GraphError("WebGPU finds no graphics card here; load the model for WebAssembly (device: 'wasm')");
  const requiredLimits = Object.fromEntries(
    LIMITS.filter((name) => adapter.limits[name] !== undefined).map((name) => [name, adapter.limits[name]]),
  );
  const requiredFeatures = FEATURES.filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures });
  const held: HeldDevice = { device, replicas: new Replicas(device), lost: null };
  void held.device.lost.then(({ reason, message }) => {
    held.lost = message || reason;
  });
  return held;
}

/** Whether a call has failed because its device is gone. */
export async function isLost(held: HeldDevice): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((done) => {
    timer = setTimeout(done, LOSS_MS);
  });
  await Promise.race([held.device.lost, late]);
  clearTimeout(timer);
  return held.lost !== null;
}
