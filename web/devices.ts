/**
 * @file What computes the model: the processor, or a graphics card where the browser lets pages use one.
 */
import type { Device } from '../src/exports/web.ts';
import { byId, element } from './dom.ts';

const NAMES: Readonly<Record<Device, string>> = { wasm: 'WebAssembly', webgpu: 'WebGPU' };

/** @param chosen before. @param onChange another device was chosen. @returns the chosen device. */
export function showDevices(chosen: string | undefined, onChange: () => void): () => Device {
  const select = byId<HTMLSelectElement>('device');
  const options = Object.entries(NAMES).map(([value, name]) => element('option', { value }, [name]));
  // Whether there is a graphics card is asked when it is chosen: browsers warn in the console where there is none.
  options[1].disabled = !('gpu' in navigator);
  select.replaceChildren(...options);
  if (options.some(({ value, disabled }) => value === chosen && !disabled)) select.value = chosen!;
  select.addEventListener('change', onChange);
  return () => select.value as Device;
}
