/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routing/routed.ts';
import { echo } from './echo.ts';
import { merge } from './merge.ts';

/** `routed(echo, merge)`, distributed by a calibration of the model. */
export const routed = routedPolicy(echo, merge, 'routed');
