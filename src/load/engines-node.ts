/**
 * @file The engines that Node can compute models with. Each is loaded when it is first asked for.
 */
import { DEVICES, type DeviceName } from '../backends/ggml/devices/devices.ts';
import type { Backend } from '../backends/types.ts';
import { EngineError, InputError } from '../util/errors.ts';

/**
 * `ggml`: native libraries for this processor. `onnx`: ONNX Runtime, the engine of browsers, where onnxruntime-node is
 * installed.
 */
export type EngineName = 'ggml' | 'onnx';
export { DEVICES, type DeviceName };
export const ENGINES: readonly EngineName[] = ['ggml', 'onnx'];

const LOADERS: Readonly<Record<EngineName, (device: DeviceName) => Promise<Backend>>> = {
  ggml: async (device) => (await import('../backends/ggml/ggml-backend.ts')).ggmlBackendOn(device),
  onnx: async (device) => {
    if (device !== 'cpu')
      throw new InputError(
        `the onnx engine computes on the CPU only, not on the device "${device}": use the engine ggml`,
      );
    try {
      return (await import('../backends/onnx/onnxruntime-node.ts')).onnxBackend;
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

/** @throws InputError for a name that no engine or device has; EngineError where it can't be used here. */
export async function openEngine(
  name: EngineName = defaultEngine(),
  device: DeviceName = defaultDevice(),
): Promise<Backend> {
  return LOADERS[checkEngine(name, 'the option "engine"')](checkDevice(device, 'the option "device"'));
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
