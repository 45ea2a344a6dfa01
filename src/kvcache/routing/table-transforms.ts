/**
 * @file The matrices of keys that a calibration table has.
 */
import { sha256 } from '../../util/sha256.ts';
import { KeyTransforms, layerTransform } from '../buffers/key-transforms.ts';
import type { CacheShape } from '../shape.ts';
import type { CalibrationTable } from './calibration-table.ts';

/** null where the table has none, as those of earlier versions. A layer that they do not fit goes without. */
export function tableTransforms({ texts, length, layers }: CalibrationTable, shape: CacheShape): KeyTransforms | null {
  const triangles = layers.map((groups) => groups?.map(({ transform }) => transform ?? '') ?? []);
  const made = triangles.map((list, l) => {
    const { keySize, groups, slots } = shape.layers[l] ?? {};
    const fits = slots === true && list.length === groups && list.every((text) => text !== '');
    return fits ? layerTransform(list, keySize) : null;
  });
  if (made.every((layer) => layer === null)) return null;
  const digest = sha256(new TextEncoder().encode(JSON.stringify(triangles)));
  return new KeyTransforms({ digest, texts, length }, made);
}
