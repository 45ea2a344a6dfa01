/**
 * @file Clients of a server that leave at random moments: in the queue, while their prompt is computed, and within
 * their answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seeded } from './seeded.ts';

const PARALLEL = 12;

/** @returns how many left before the end of their answer. */
export async function leaveStreams(url: string, count: number, seed: number): Promise<number> {
  const random = seeded(seed);
  let [started, left] = [0, 0];
  const client = async () => {
    while (started < count) {
      const i = started++;
      const leave = new AbortController();
      const timer = sleep(random(120)).then(() => leave.abort());
      try {
        const response = await fetch(`${url}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({
            model: 'tiny',
            prompt: 'In the beginning God created '.repeat(1 + random(8)),
            max_tokens: 60,
            ignore_eos: true,
            stream: i % 3 > 0,
            ...(i % 4 === 0 ? { session_id: `session-${i % 16}` } : {}),
          }),
          signal: leave.signal,
        });
        await response.text();
      } catch (error) {
        if (!leave.signal.aborted) throw error;
        left++;
      }
      await timer;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, client));
  return left;
}
