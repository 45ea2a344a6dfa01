import { describe, expect, it } from 'vitest';
import { testIo } from '../../../test/support/cli.ts';
import { loadProgress, Progress } from './progress.ts';

/** A progress with a clock that stands still until it is told otherwise. */
function setUp(terminal?: number, silent = false) {
  const io = testIo({ terminal, env: { NO_COLOR: '1' } });
  let time = 0;
  const progress = new Progress(io, silent, () => time);
  const at = (ms: number, done: number, total = 100_000_000) => {
    time = ms;
    progress.update({ label: 'Downloading', done, total, unit: 'bytes' });
  };
  return { io, progress, at };
}

describe('progress on a terminal', () => {
  it('is a bar with percent, amount, speed and time left', () => {
    const { io, at } = setUp(100);
    at(0, 0);
    at(2000, 50_000_000);
    expect(io.stderr.text).toBe(
      '\rDownloading  ━━━━━━━━━━━━━━━───────────────   50%  50.0 of 100 MB  25.0 MB/s  2 s left\x1b[K',
    );
  });

  it('is not drawn for what is over in a moment', () => {
    const { io, at, progress } = setUp(100);
    at(0, 0);
    at(100, 100_000_000);
    progress.end();
    expect(io.stderr.text).toBe('');
  });

  it('is not drawn at every step, but at the last', () => {
    const { io, at } = setUp(100);
    at(0, 0);
    for (let i = 1; i <= 1000; i++) at(1000 + i / 100, i * 100_000);
    expect(io.stderr.text.split('\r')).toHaveLength(3);
    expect(io.stderr.text).toContain('100%');
  });

  it('fits the width', () => {
    for (const width of [1, 10, 20, 40, 60, 80, 120]) {
      const { io, at } = setUp(width);
      at(0, 0);
      at(60_000, 1_234_567);
      expect(io.stderr.text.replace('\r', '').replace('\x1b[K', '').length).toBeLessThan(Math.max(width, 2));
    }
  });

  it('is taken away at its end', () => {
    const { io, at, progress } = setUp(100);
    at(0, 0);
    at(1000, 1);
    progress.end();
    progress.end();
    expect(io.stderr.text.endsWith('\x1b[K\r\x1b[K')).toBe(true);
  });

  it('begins anew with another label', () => {
    const { io, progress } = setUp(100);
    const tell = loadProgress(progress);
    tell({ stage: 'download', file: 'a', fileBytes: 1, fileTotal: 1, bytes: 1, total: 1 });
    tell({ stage: 'weights', bytes: 0, total: 0 });
    expect(io.stderr.text).toBe('');
  });
});

describe('progress elsewhere', () => {
  it('is a line now and then', () => {
    const { io, at } = setUp();
    for (let second = 0; second <= 25; second++) at(second * 1000, second * 4_000_000);
    expect(io.stderr.text).toBe(
      [
        'Downloading: 8.00 of 100 MB (8%), 4.00 MB/s, 23 s left',
        'Downloading: 48.0 of 100 MB (48%), 4.00 MB/s, 13 s left',
        'Downloading: 88.0 of 100 MB (88%), 4.00 MB/s, 3 s left',
        'Downloading: 100 of 100 MB (100%), 4.00 MB/s',
        '',
      ].join('\n'),
    );
  });

  it('is nothing where nothing is wanted', () => {
    const { io, at } = setUp(undefined, true);
    at(0, 0);
    at(60_000, 1);
    expect(io.stderr.text).toBe('');
  });
});
