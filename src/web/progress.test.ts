import { expect, it } from 'vitest';
import { type FetchProgress, ProgressMeter } from './progress.ts';

it('tells the rate of the last seconds and the time left, without what was there before', () => {
  let now = 0;
  const told: FetchProgress[] = [];
  const meter = new ProgressMeter(
    10_000,
    (progress) => told.push(progress),
    () => now,
  );
  meter.tell(4000, 'a');
  expect(told[0]).toEqual({ bytes: 4000, total: 10_000, file: 'a', rate: 0, secondsLeft: null });
  now = 50;
  meter.tell(4100, 'a');
  expect(told).toHaveLength(1);
  now = 1000;
  meter.tell(5000, 'a');
  expect(told[1]).toMatchObject({ rate: 1000, secondsLeft: 5 });
  for (now = 2000; now <= 20_000; now += 1000) meter.tell(5000, 'a');
  expect(told.at(-1)).toMatchObject({ rate: 0, secondsLeft: null });
  meter.tell(100, 'a');
  expect(told.at(-1)).toMatchObject({ bytes: 100, rate: 0 });
  meter.end('b');
  expect(told.at(-1)).toMatchObject({ bytes: 10_000, secondsLeft: 0 });
});
