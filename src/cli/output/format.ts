/**
 * @file Numbers as people read them.
 */

const BYTE_UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** `393 kB`, `10.6 MB`, `2.72 GB`: thousands, as disks and the hub count. */
export function bytes(count: number): string {
  return scaled(count, BYTE_UNITS, ' ');
}

/** `5.32M`, `1.24B` parameters. */
export function parameters(count: number): string {
  return scaled(count, ['', 'k', 'M', 'B', 'T'], '');
}

/** `4,096` */
export function whole(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `1 token`, `4,096 tokens` */
export function counted(count: number, thing: string): string {
  return `${whole(count)} ${thing}${Math.round(count) === 1 ? '' : 's'}`;
}

/** `12 ms`, `3.4 s`, `2 min 05 s`, `1 h 02 min` */
export function duration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${pad(all % 60)} s`;
  return `${Math.floor(all / 3600)} h ${pad(Math.floor((all % 3600) / 60))} min`;
}

/** `438`, `28.3`, `0.42`: three digits at most after the first that counts. */
export function rate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '-';
  return perSecond >= 99.95 ? whole(perSecond) : perSecond.toFixed(perSecond >= 9.995 ? 1 : 2);
}

/** `0–3, 79–205` */
export function ranges(list: readonly (readonly [first: number, last: number])[]): string {
  return list.map(([first, last]) => (first === last ? whole(first) : `${whole(first)}–${whole(last)}`)).join(', ');
}

function scaled(count: number, units: readonly string[], gap: string): string {
  let value = count;
  let unit = 0;
  // 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)}${units[unit] === '' ? '' : gap}${units[unit]}`;
}

const pad = (n: number): string => String(n).padStart(2, '0');
