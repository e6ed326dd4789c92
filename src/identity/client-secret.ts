import { secretForm } from './token-secret.ts';

/** The secret of an agent or service: `sws_…`, shown once. */
export const clientSecret = secretForm('sws_');
