/**
 * @file Events as the body of a stream (text/event-stream). The next event is made when the client has taken the last
 * one.
 */

const utf8 = new TextEncoder();
export const SSE_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

/** One event. */
export const event = (data: unknown, name?: string): string =>
  `${name === undefined ? '' : `event: ${name}\n`}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;

/**
 * @param texts events, as {@link event} makes them. What it throws must be told as an event: a plain end looks like
 * success.
 * @param pingMs after so long without an event a comment is sent, so that clients and proxies do not close the
 * connection.
 * @param stallMs after which a client that takes nothing counts as left. It holds a row.
 * @param client aborted when the client has left. Servers do not always cancel the stream of one that was waiting for
 * data.
 * @param onCancel called when the client has left.
 */
export function eventStream(
  texts: AsyncGenerator<string, void, undefined>,
  pingMs: number,
  stallMs: number,
  client: AbortSignal,
  onCancel: () => Promise<void>,
): ReadableStream<Uint8Array> {
  let next: Promise<IteratorResult<string, void>> | null = null;
  let stall: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  /** @returns whether this call has ended it. */
  const end = (): boolean => {
    clearTimeout(stall);
    if (ended) return false;
    ended = true;
    return true;
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const leave = () => {
          if (!end()) return;
          controller.close();
          void onCancel();
        };
        if (client.aborted) leave();
        else client.addEventListener('abort', leave, { once: true });
      },
      async pull(controller) {
        clearTimeout(stall);
        next ??= texts.next();
        let timer: ReturnType<typeof setTimeout> | undefined;
        const ping = new Promise<null>((resolve) => {
          timer = setTimeout(() => resolve(null), pingMs);
        });
        const result = await Promise.race([next, ping]);
        clearTimeout(timer);
        if (ended) return;
        if (result === null) {
          controller.enqueue(utf8.encode(': ping\n\n'));
        } else {
          next = null;
          if (result.done) {
            end();
            return controller.close();
          }
          controller.enqueue(utf8.encode(result.value));
        }
        stall = setTimeout(() => {
          if (!end()) return;
          controller.error(new Error(`the client has taken nothing for ${stallMs} ms`));
          void onCancel();
        }, stallMs);
      },
      async cancel() {
        if (end()) await onCancel();
      },
    },
    { highWaterMark: 0 },
  );
}
