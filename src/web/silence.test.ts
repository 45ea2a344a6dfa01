import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SilenceWatch } from './silence.ts';

describe('SilenceWatch', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const started = () => {
    const silence = vi.fn();
    const watch = new SilenceWatch(1000, silence);
    watch.watch(true);
    return { silence, watch };
  };

  it('notices a worker that has work and says nothing, once', () => {
    const { silence } = started();
    vi.advanceTimersByTime(1000);
    expect(silence).not.toHaveBeenCalled();
    vi.advanceTimersByTime(5000);
    expect(silence).toHaveBeenCalledTimes(1);
  });

  it('is patient with a worker that says something now and then', () => {
    const { silence, watch } = started();
    for (let i = 0; i < 50; i++) {
      vi.advanceTimersByTime(900);
      watch.heard();
    }
    expect(silence).not.toHaveBeenCalled();
  });

  it('does not mind the silence of a worker without work', () => {
    const { silence, watch } = started();
    watch.watch(false);
    vi.advanceTimersByTime(100_000);
    expect(silence).not.toHaveBeenCalled();
  });
});
