/**
 * @file `keyhold/eval`: what a cache costs in quality, and how fast a model is.
 */
export { type Interval, meanInterval } from '../eval/bootstrap.ts';
export { plotCalibration } from '../eval/calibration-plot.ts';
export { type CompareOptions, type CompareResult, type Contestant, compare } from '../eval/compare.ts';
export { comparisonCells, comparisonMarkdown } from '../eval/compare-table.ts';
export { type DivergenceResult, divergence } from '../eval/divergence.ts';
export { type PerplexityOptions, type PerplexityResult, perplexity } from '../eval/perplexity.ts';
export { plotComparison } from '../eval/plot.ts';
export {
  parseRecallCases,
  type QuestionPosition,
  type RecallCase,
  type RecallOptions,
  type RecallResult,
  recall,
} from '../eval/recall.ts';
export { parsePassages, type RulerOptions, type RulerResult, type RulerScore, ruler } from '../eval/ruler.ts';
export { RULER_TASKS, type RulerCase, type RulerCaseOptions, type RulerTask, rulerCases } from '../eval/ruler-cases.ts';
export type { Passage } from '../eval/ruler-text.ts';
export {
  measureSpeed,
  type SpeedChoices,
  type SpeedOptions,
  type SpeedResult,
  type SpeedSearch,
  type SpeedSettings,
  type SpeedTrial,
  searchSpeed,
} from '../eval/speed.ts';
