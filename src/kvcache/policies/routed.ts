/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { mixPolicies } from '../policy/mix.ts';
import { routedPolicy } from '../routing/routed.ts';
import { echo } from './echo.ts';
import { h2oPrompt } from './h2o-prompt.ts';

/** `routed(echo, mix(h2o-prompt, echo))`, distributed by a calibration of the model. */
export const routed = routedPolicy(echo, mixPolicies([h2oPrompt, echo]), 'routed');
