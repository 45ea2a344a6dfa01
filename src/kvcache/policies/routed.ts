/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routing/routed.ts';
import { echoKeyDiff } from './echo-keydiff.ts';
import { merge } from './merge.ts';

/** `routed(echo-keydiff, merge)`, distributed by a calibration of the model. */
export const routed = routedPolicy(echoKeyDiff, merge, 'routed');
