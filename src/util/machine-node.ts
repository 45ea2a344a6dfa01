/**
 * @file What this process may use of the machine, where a container limits it: cores and memory.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, freemem } from 'node:os';

/** The text of a file; empty where there is none. */
type ReadText = (path: string) => string;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/**
 * Cores that this process may compute on: those of its affinity, and at most the processor time that its control group
 * has (`docker run --cpus`), which Node 20 does not count. Threads beyond it stop each other.
 */
export function usableCores(cores = availableParallelism(), read = readText): number {
  return Math.max(1, Math.min(cores, Math.floor(quotaOf(read))));
}

/**
 * Cores' worth of processor time of the control group, in its second version or in its first; infinite where it has no
 * limit.
 */
function quotaOf(read: ReadText): number {
  const [quota, period] = read('/sys/fs/cgroup/cpu.max').split(' ').map(Number);
  if (quota > 0 && period > 0) return quota / period;
  const microseconds = (name: string) => Number(read(`/sys/fs/cgroup/cpu/cpu.cfs_${name}_us`));
  const first = microseconds('quota') / microseconds('period');
  return first > 0 ? first : Number.POSITIVE_INFINITY;
}

/**
 * Bytes that this process may still take: what is free on the machine, and at most what is left of its control group's
 * limit. The pages of files that the group has read do not count, because the system takes them back.
 */
export function usableMemory(
  free = freemem(),
  limit = process.constrainedMemory?.() ?? 0,
  used = process.memoryUsage.rss(),
): number {
  // 0 or a number beyond all memory where there is no limit.
  return limit > 0 ? Math.max(0, Math.min(free, limit - used)) : free;
}
