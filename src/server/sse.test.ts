import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventStream } from './sse.ts';

afterEach(() => {
  vi.useRealTimers();
});

/** Texts that come one by one, and then none until it is told to. */
async function* texts(...first: string[]): AsyncGenerator<string, void, undefined> {
  yield* first;
  await new Promise(() => {});
}
const utf8 = new TextDecoder();

describe('a stream of events', () => {
  it('ends when the client has left, though nothing cancels it, and says so once', async () => {
    vi.useFakeTimers();
    const client = new AbortController();
    const left = vi.fn(async () => {});
    const reader = eventStream(texts('a'), 1e6, 1000, client.signal, left).getReader();
    expect(utf8.decode((await reader.read()).value)).toBe('a');
    client.abort();
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    // It does not count as stalled afterwards.
    await vi.advanceTimersByTimeAsync(5000);
    await reader.cancel();
    expect(left).toHaveBeenCalledTimes(1);
  });

  it('ends when the client leaves while the next event is waited for', async () => {
    const client = new AbortController();
    const left = vi.fn(async () => {});
    const reader = eventStream(texts(), 1e6, 1e6, client.signal, left).getReader();
    const next = reader.read();
    client.abort();
    expect((await next).done).toBe(true);
    expect(left).toHaveBeenCalledTimes(1);
  });

  it('fails where the client takes nothing', async () => {
    vi.useFakeTimers();
    const left = vi.fn(async () => {});
    const reader = eventStream(texts('a', 'b'), 1e6, 1000, new AbortController().signal, left).getReader();
    await reader.read();
    await vi.advanceTimersByTimeAsync(1001);
    await expect(reader.read()).rejects.toThrow('the client has taken nothing for 1000 ms');
    expect(left).toHaveBeenCalledTimes(1);
  });

  it('is cancelled once', async () => {
    const left = vi.fn(async () => {});
    const client = new AbortController();
    const stream = eventStream(texts('a'), 1e6, 1e6, client.signal, left);
    await stream.cancel();
    client.abort();
    expect(left).toHaveBeenCalledTimes(1);
  });
});
