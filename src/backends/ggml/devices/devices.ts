/**
 * @file The devices that compute models: the CPU, and GPUs where the user has installed a package with a library for
 * them.
 */
import { EngineError } from '../../../util/errors.ts';
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { setVariable } from '../binding/libc.ts';
import { findGpuLibrary, GPU_KINDS, type GpuKind, gpuPackage } from '../binding/platform.ts';
import { type DeviceMemory, deviceMemory } from '../memory/device-memory.ts';

/** What computes a model. `gpu`: the first of cuda, metal and vulkan that is installed here and has a device. */
export type DeviceName = 'cpu' | 'gpu' | GpuKind;
export const DEVICES: readonly DeviceName[] = ['cpu', 'gpu', 'vulkan', 'metal', 'cuda'];

/** A GPU that ggml can use. */
export interface Device {
  readonly pointer: Pointer;
  readonly kind: GpuKind;
  /** Of ggml, such as `Vulkan0`. */
  readonly name: string;
  readonly description: string;
  readonly memory: DeviceMemory;
}

/** `GGML_BACKEND_DEVICE_TYPE_GPU` and `_IGPU`. */
const GPU_TYPES: readonly number[] = [1, 2];
/** How ggml's registries call the kinds. */
const REGISTRIES: Readonly<Record<GpuKind, RegExp>> = { cuda: /^cuda/i, metal: /^(metal|mtl)/i, vulkan: /^vulkan/i };

/** Libraries that were opened, which can't be closed again. */
const opened = new Set<string>();

/**
 * The first device of a kind.
 * @throws EngineError where its package is not installed, or the system has no such device.
 */
export function openDevice(ggml: Ggml, name: Exclude<DeviceName, 'cpu'>): Device {
  if (name !== 'gpu') return openKind(ggml, name)[0];
  const { devices, problems } = listDevices(ggml);
  if (devices.length > 0) return devices[0];
  throw new EngineError(
    problems.length > 0
      ? `there is no GPU to compute with: ${problems.join('; ')}`
      : `there are no GPU builds for ${process.platform}-${process.arch}: use the option device: 'cpu'`,
  );
}

/** The devices of all packages that are installed, and what is missing for each of the other kinds. */
export function listDevices(ggml: Ggml): { readonly devices: Device[]; readonly problems: string[] } {
  const devices: Device[] = [];
  const problems: string[] = [];
  for (const kind of GPU_KINDS) {
    if (gpuPackage(kind) === undefined) continue;
    try {
      devices.push(...openKind(ggml, kind));
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return { devices, problems };
}

/** All devices of a kind, of which there is one at least. */
function openKind(ggml: Ggml, kind: GpuKind): Device[] {
  openLibrary(ggml, kind);
  const devices = devicesOf(ggml, kind);
  if (devices.length === 0)
    throw new EngineError(
      `the system has no device for ${kind}${kind === 'vulkan' ? ' (vulkaninfo --summary lists those it knows)' : ''}: ` +
        "install the GPU's driver, or use the option device: 'cpu'",
    );
  return devices;
}

/**
 * Makes the devices of a kind known to ggml. Vulkan's products round both factors to float16 where the device can:
 * logits of float32 weights were off by 1e-3 to 5e-3, and are off by 2e-6 without.
 */
function openLibrary(ggml: Ggml, kind: GpuKind): void {
  const needed = gpuPackage(kind);
  if (needed === null) return;
  if (needed === undefined)
    throw new EngineError(
      `there is no ${kind} build for ${process.platform}-${process.arch}; ` +
        `there are ${GPU_KINDS.filter((other) => gpuPackage(other) !== undefined).join(', ') || 'none'}: use the option device: 'cpu'`,
    );
  const file = findGpuLibrary(kind, needed);
  if (opened.has(file)) return;
  if (kind === 'vulkan' && !process.env.KEYHOLD_VULKAN_F16) setVariable(ggml, 'GGML_VK_DISABLE_F16', '1');
  if (!ggml.ggml_backend_load(file))
    throw new EngineError(
      `${file} can't be loaded: the driver of the GPU is missing` +
        `${kind === 'vulkan' ? " (on Debian and Ubuntu: apt install libvulkan1 and the GPU's driver)" : ''}`,
    );
  opened.add(file);
}

function devicesOf(ggml: Ggml, kind: GpuKind): Device[] {
  return Array.from({ length: ggml.ggml_backend_dev_count() }, (_, i) => ggml.ggml_backend_dev_get(i))
    .filter((pointer) => GPU_TYPES.includes(ggml.ggml_backend_dev_type(pointer)))
    .filter((pointer) => REGISTRIES[kind].test(ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(pointer))))
    .map((pointer) => ({
      pointer,
      kind,
      name: ggml.ggml_backend_dev_name(pointer),
      description: ggml.ggml_backend_dev_description(pointer),
      memory: deviceMemory(ggml, pointer),
    }));
}
