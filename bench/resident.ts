/**
 * @file What a process takes of the memory, as Linux counts it.
 */

import { readFileSync, writeFileSync } from 'node:fs';

/** In bytes. */
export interface Memory {
  /** Resident now. */
  readonly resident: number;
  /** The most that was resident since {@link resetPeak}. */
  readonly peak: number;
  /** The file of the weights, which is part of both. */
  readonly weights: number;
}

/** Forgets how much was resident earlier. */
export function resetPeak(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Not Linux, or not allowed: the peak is that of the whole process.
  }
}

/** undefined elsewhere than on Linux. */
export function readMemory(weights: number): Memory | undefined {
  let status: string;
  try {
    status = readFileSync('/proc/self/status', 'utf8');
  } catch {
    return undefined;
  }
  const bytes = (key: string) => Number(new RegExp(`^${key}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
  return { resident: bytes('VmRSS'), peak: bytes('VmHWM'), weights };
}
