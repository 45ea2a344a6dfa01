/**
 * @file The folder of calibrations: `calibrations`, beside the prepared weights.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CalibrationStore } from '../engine/calibration/calibrations.ts';
import { writeWhole } from '../util/files/files-node.ts';
import { cacheFolder } from '../util/files/home-node.ts';

/** @param cacheDir as of prepared weights. */
export function calibrationFolder(cacheDir?: string): CalibrationStore {
  const pathOf = (name: string) => join(cacheFolder(cacheDir), 'calibrations', `${name}.json`);
  return {
    async read(name) {
      const text = await readFile(pathOf(name), 'utf8').catch(() => null);
      return text === null ? null : JSON.parse(text);
    },
    readNow: (name) => (existsSync(pathOf(name)) ? JSON.parse(readFileSync(pathOf(name), 'utf8')) : null),
    write: (name, table) => writeWhole(pathOf(name), `${JSON.stringify(table)}\n`),
  };
}
