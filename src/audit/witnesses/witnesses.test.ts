import { describe } from 'node:test';
import {
  openFileStand,
  openPostStand,
  openS3Stand,
  openTlogStand,
} from '../../../tests/support/witness-stands.ts';
import { witnessConformance } from './witness.conformance.ts';

const failures = [
  'die',
  'take-and-die',
  'stall',
  'busy',
  'unauthorized',
  'redirect',
  'huge',
  'slow-headers',
  'many-headers',
] as const;

describe('the witness file', () => {
  witnessConformance({ open: openFileStand, failures: [], seesGrowth: true, tls: false });
});

describe('the witness s3', () => {
  witnessConformance({ open: openS3Stand, failures, seesGrowth: true, tls: true });
});

describe('the witness tlog', () => {
  witnessConformance({ open: () => openTlogStand(), failures, seesGrowth: true, tls: true });
});

describe('the witness post', () => {
  witnessConformance({ open: openPostStand, failures, seesGrowth: false, tls: true });
});
