/**
 * @file The order of test files: one that is long and begins late would run alone at the end, while the other worker
 * waits.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** In this order, where nothing is known of an earlier run. */
const LONGEST = ['test/web/webgpu', 'test/docs', 'test/web/hub', 'src/step/hybrid-eviction', 'test/parity/parity'];

const rank = ({ moduleId }: TestSpecification): number => {
  const found = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
  return found < 0 ? LONGEST.length : found;
};

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
