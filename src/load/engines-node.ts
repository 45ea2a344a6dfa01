/**
 * @file The engines that Node can compute models with. Each is loaded when it is first asked for.
 */
import { DEVICES, type DeviceName } from '../backends/ggml/devices.ts';
import type { Backend } from '../backends/types.ts';
import { EngineError, InputError } from '../util/errors.ts';

/** `ggml`: native libraries for this processor. `onnx`: ONNX Runtime, the engine of browsers, where onnxruntime-node is installed. */
export type EngineName = 'ggml' | 'onnx';
export { DEVICES, type DeviceName };
export const ENGINES: readonly EngineName[] = ['ggml', 'onnx'];

/** An engine whose package is there. */
export interface OpeningEngine {
  /** Rejected with EngineError where there is no such processor or device. */
  readonly backend: Promise<Backend>;
}

const LOADERS: Readonly<Record<EngineName, (device: DeviceName) => Promise<OpeningEngine>>> = {
  ggml: async (device) => {
    const { ggmlBackendOn } = await import('../backends/ggml/ggml-backend.ts');
    const backend = ggmlBackendOn(device);
    // What a device lacks is known before a model is downloaded for it.
    if (device !== 'cpu') await backend;
    return { backend };
  },
  onnx: async (device) => {
    if (device !== 'cpu')
      throw new InputError(
        `the onnx engine computes on the CPU only, not on the device "${device}": use the engine ggml`,
      );
    try {
      const { onnxBackend } = await import('../backends/onnx/onnxruntime-node.ts');
      return { backend: Promise.resolve(onnxBackend) };
    } catch (cause) {
      throw new EngineError(
        `the onnx engine needs the package onnxruntime-node, which can't be loaded (${cause instanceof Error ? cause.message : cause}): ` +
          'npm install onnxruntime-node',
        { cause },
      );
    }
  },
};

/** The engine of models for which none is named: `$KEYHOLD_ENGINE`, or ggml. */
export function defaultEngine(env: Readonly<Record<string, string | undefined>> = process.env): EngineName {
  return checkEngine(env.KEYHOLD_ENGINE || 'ggml', 'the environment variable KEYHOLD_ENGINE');
}

/** The device of models for which none is named: `$KEYHOLD_DEVICE`, or the CPU. */
function defaultDevice(env: Readonly<Record<string, string | undefined>> = process.env): DeviceName {
  return checkDevice(env.KEYHOLD_DEVICE || 'cpu', 'the environment variable KEYHOLD_DEVICE');
}

/**
 * Begins to open an engine. Some of that is done on another thread, so other work should come before its backend is
 * waited for.
 * @throws InputError for a name that no engine or device has; EngineError where a package is missing.
 */
export async function beginEngine(
  name: EngineName = defaultEngine(),
  device: DeviceName = defaultDevice(),
): Promise<OpeningEngine> {
  const engine = await LOADERS[checkEngine(name, 'the option "engine"')](checkDevice(device, 'the option "device"'));
  // It is not waited for where the other work fails.
  engine.backend.catch(() => undefined);
  return engine;
}

/** @throws as {@link beginEngine}; EngineError where the engine can't be used here. */
export async function openEngine(name?: EngineName, device?: DeviceName): Promise<Backend> {
  return (await beginEngine(name, device)).backend;
}

function checkDevice(name: string, where: string): DeviceName {
  const known = DEVICES.find((device) => device === name);
  if (!known) throw new InputError(`${where} is "${name}"; there are ${DEVICES.join(', ')}`);
  return known;
}

function checkEngine(name: string, where: string): EngineName {
  const known = ENGINES.find((engine) => engine === name);
  if (!known) throw new InputError(`${where} is "${name}"; there are ${ENGINES.join(' and ')}`);
  return known;
}
