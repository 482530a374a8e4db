/* What a sender may say of a text, and what its receiver shows (docs/PEER-PROTOCOL.md, "The deadline"): one text, sent under one id in up to
 * two attempts (two programs of one user, the second with --id), to a receiver that can be killed and started again.
 *
 * The network is what it ever carried: a datagram that was sent to a receiver's process can come in at any time later, any number of times,
 * or never. That is every loss, duplication, delay and reordering. A process that is suspended is one that takes no step for a while, as any
 * process here may; what comes in meanwhile waits in the buffer of its socket, which the kernel fills.
 *
 *   -DMUT_DELIVERED_EARLY  accepted is answered when the text is complete, before its output
 *   -DMUT_NO_CHECK         output does not look for a revoke
 *   -DMUT_NO_DRAIN         output looks only at the revokes that were read, not at those that wait in the socket
 *   -DMUT_NO_MEMORY        a revoke is answered and forgotten: a copy of the text that comes later is shown
 *   -DMUT_ANSWER_STUCK     a revoke is answered "not shown" while the output has begun
 *   -DMUT_ANY_PROCESS      "not shown" counts from whichever process says it
 *   -DMUT_FAIL_SILENT      silence after the revoke is taken for "not shown"
 *   -DMUT_NO_SEEN          the log of seen ids is not asked
 *   -DMUT_LOG_FIRST        the id is logged before the output
 *   -DMUT_END_STUCK        a program that ends says "not shown" of a text whose output has begun
 *   -DMUT_NO_AGAIN         a text that another process may have shown is not marked
 */
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef CRASHES
#define CRASHES 1 /* of the receiver; so many processes more */
#endif
#define PROCESSES (CRASHES + 1)
#define AT(a, p) ((a) * PROCESSES + (p))
#define ALL (ATTEMPTS * PROCESSES)

mtype = { sending, revoking, delivered, failed, unconfirmed, dead };      /* an attempt */
mtype = { nothing, kept, begun, shown, revoked };                        /* an attempt's text at a process */

/* What was ever sent, from an attempt to a process and back. */
bool netText[ALL], netRevoke[ALL], netShown[ALL], netNot[ALL];
/* In the socket's buffer of a process. */
bool bufText[ALL], bufRevoke[ALL];

mtype attempt[ATTEMPTS];
bool exposed[ALL];          /* the attempt has sent its text there */
bool repeated[ATTEMPTS];    /* its text says that the id may be known */
bool again[ATTEMPTS];       /* and that another process may have shown it */
mtype text[ALL];
byte present;               /* the process that is there */
bool ended;                 /* it has said goodbye */
bool logged;                /* the id, in the state directory */
byte known;                 /* in memory: 0 no, 1 its output has begun, 2 it is shown */

/* What the properties are about. */
byte outputs, marked;       /* of the text; of them, marked "again" */
byte unlogged;              /* processes killed between the output and the log: a second program, with --id, may show the text once more */
bool outputOf[ATTEMPTS];

inline output(a, p) {
  outputs++; outputOf[a] = true;
  if :: again[a] -> marked++ :: else fi;
  assert(attempt[a] != failed);                    /* never output after "failed" */
  assert(outputs - marked <= 1 + (a > 0 -> unlogged : 0)) /* never twice, unless marked */
}

proctype Sender(byte a) {
  byte p;
  /* An attempt after the first is the user's: the one before has ended, whatever it said, and its program may have been killed. */
  if
  :: a > 0 -> (attempt[a - 1] != sending && attempt[a - 1] != revoking) -> repeated[a] = true
  :: else
  fi;
  do
  :: attempt[a] == sending -> atomic {
       if
       :: true ->                                  /* to the process that is there */
          p = present;
          netText[AT(a, p)] = true;
          if
          :: p > 0 && exposed[AT(a, p - 1)] -> repeated[a] = true;
#ifndef MUT_NO_AGAIN
             again[a] = true
#endif
          :: else
          fi;
          exposed[AT(a, p)] = true
       :: true -> attempt[a] = revoking            /* the deadline */
       :: true -> attempt[a] = dead                /* killed */
       fi }
  :: attempt[a] == revoking -> atomic {
       if
       :: true -> netRevoke[AT(a, present)] = true
       :: true -> attempt[a] = dead
       :: true ->                                  /* a second without an answer */
          p = 0;
          do
          :: p < PROCESSES && !exposed[AT(a, p)] -> p++
          :: else -> break
          od;
          if
          :: p == PROCESSES -> attempt[a] = failed /* no process has it */
#ifdef MUT_FAIL_SILENT
          :: else -> attempt[a] = failed; assert(!outputOf[a])
#else
          :: else -> attempt[a] = unconfirmed
#endif
          fi
       fi }
  :: atomic { (attempt[a] == sending || attempt[a] == revoking) && (netShown[AT(a, 0)] || netShown[AT(a, PROCESSES - 1)]) ->
       attempt[a] = delivered;
       assert(outputs > 0) }                       /* never "delivered" without output */
  :: atomic { attempt[a] == revoking && (netNot[AT(a, 0)] || netNot[AT(a, PROCESSES - 1)]) ->
#ifdef MUT_ANY_PROCESS
       attempt[a] = failed; assert(!outputOf[a])
#else
       /* Each process that may have it has said that it has not shown it. */
       p = 0;
       do
       :: p < PROCESSES && (!exposed[AT(a, p)] || netNot[AT(a, p)]) -> p++
       :: else -> break
       od;
       if
       :: p == PROCESSES -> attempt[a] = failed; assert(!outputOf[a])
       :: else -> (attempt[a] != revoking || netShown[AT(a, 0)] || netShown[AT(a, PROCESSES - 1)] || true)
       fi
#endif
     }
  :: else -> break
  od
}

/* The kernel: puts what the network carries into the buffer of the process that it was sent to. */
active proctype Kernel() {
  byte a;
end:
  do
  :: atomic { select(a : 0 .. (ATTEMPTS - 1));
       if
       :: netText[AT(a, present)] && !bufText[AT(a, present)] -> bufText[AT(a, present)] = true
       :: netRevoke[AT(a, present)] && !bufRevoke[AT(a, present)] -> bufRevoke[AT(a, present)] = true
       :: else
       fi }
  od
}

inline readText(a) {
  bufText[AT(a, present)] = false;
  if
  :: text[AT(a, present)] == nothing && !ended ->
     text[AT(a, present)] = kept;
#ifdef MUT_DELIVERED_EARLY
     netShown[AT(a, present)] = true
#endif
  :: else                                          /* a duplicate, or one that was revoked */
  fi
}
inline readRevoke(a) {
  bufRevoke[AT(a, present)] = false;
  if
  :: text[AT(a, present)] == nothing || text[AT(a, present)] == kept || text[AT(a, present)] == revoked ->
#ifdef MUT_NO_MEMORY
     text[AT(a, present)] = nothing;
#else
#ifndef MUT_NO_CHECK
     text[AT(a, present)] = revoked;
#endif
#endif
     netNot[AT(a, present)] = true
#ifdef MUT_ANSWER_STUCK
  :: text[AT(a, present)] == begun -> netNot[AT(a, present)] = true
#endif
  :: else                                          /* answered when the write returns; or it was */
  fi
}

active proctype Receiver() {
  byte a, i;
end:
  do
  :: atomic { select(a : 0 .. (ATTEMPTS - 1));
       if
       :: bufText[AT(a, present)] -> readText(a)
       :: bufRevoke[AT(a, present)] -> readRevoke(a)
       :: else
       fi }
  :: atomic { select(a : 0 .. (ATTEMPTS - 1));
       if
       :: text[AT(a, present)] == kept && !ended ->
          /* The instant of output: what waits in the socket is read first. */
#ifndef MUT_NO_DRAIN
          i = 0;
          do
          :: i < ATTEMPTS && bufRevoke[AT(i, present)] -> readRevoke(i); i++
          :: i < ATTEMPTS && !bufRevoke[AT(i, present)] -> i++
          :: else -> break
          od;
#endif
          if
          :: text[AT(a, present)] != kept          /* revoked: it never appears */
          :: text[AT(a, present)] == kept && known == 1 /* another attempt's output is under way: its outcome is waited for */
#ifndef MUT_NO_SEEN
          :: text[AT(a, present)] == kept && (known == 2 || (repeated[a] && logged)) ->
             text[AT(a, present)] = shown; netShown[AT(a, present)] = true
#endif
          :: text[AT(a, present)] == kept &&
#ifdef MUT_NO_SEEN
             known != 1
#else
             known == 0 && !(repeated[a] && logged)
#endif
             ->
             assert(!bufRevoke[AT(a, present)]);   /* a text that was given up never appears, after any suspension */
             text[AT(a, present)] = begun; known = 1;
#ifdef MUT_LOG_FIRST
             logged = true
#else
             output(a, present)
#endif
          fi
       :: text[AT(a, present)] == begun ->         /* the write returns; confirmed, then logged */
#ifdef MUT_LOG_FIRST
          output(a, present);
#endif
          text[AT(a, present)] = shown; known = 2; netShown[AT(a, present)] = true
       :: else
       fi }
  :: atomic { known == 2 -> logged = true }
  :: atomic { !ended -> ended = true;              /* goodbye: says of all that it does not show that it never will */
       i = 0;
       do
       :: i < ATTEMPTS ->
          if
#ifdef MUT_END_STUCK
          :: text[AT(i, present)] != shown ->
#else
          :: text[AT(i, present)] != shown && text[AT(i, present)] != begun ->
#endif
             netNot[AT(i, present)] = true; text[AT(i, present)] = revoked
          :: else
          fi;
          i++
       :: else -> break
       od }
  :: atomic { present < CRASHES -> if :: known > 0 && !logged -> unlogged++ :: else fi; present++; known = 0; ended = false }   /* SIGKILL, and another process */
  od
}

init {
  byte i;
  atomic {
    i = 0;
    do
    :: i < ATTEMPTS -> attempt[i] = sending; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < ALL -> text[i] = nothing; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < ATTEMPTS -> run Sender(i); i++
    :: else -> break
    od
  }
}
