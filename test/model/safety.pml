/*
 * ReadersWriterLock, safety: the algorithm of docs/LOCK.md step by step (E1..E9, L1..L4, R1..R9, J2..J3), with SIGKILL possible
 * between any two steps of any process. One transition is one access to shared memory, one semaphore operation or one fcntl.
 *
 * Over-approximated, so that what is proved here holds for every timing: courtesy E4 happens or not, a wait times out or notices
 * the dead at any moment, a stopped process is one that is not scheduled, a recovery may have no reason (SPURIOUS).
 * Every participant may also retire at any rest, and the killed may stay away: so a state in which one waits for something that
 * only a newcomer would repair ends the run there, and spin reports it as an invalid end state.
 * Not here: tickets and who gets in first (liveness.pml), creation and unlink of the segment, words written by a hostile process.
 *
 * The MUT_* switches break one step each; run.sh shows that spin finds the error for every one of them.
 */
#ifndef NP
#define NP 3            /* processes, 2 or 3 */
#endif
#ifndef NS
#define NS NP           /* ledger slots, 2 to 4 */
#endif
#ifndef CRASHES
#define CRASHES 2       /* SIGKILLs in one run */
#endif
#ifndef JOINS
#define JOINS CRASHES   /* how many of the killed and the closed come back as newcomers (J2) */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0      /* waits that give up, or repairs that throw */
#endif
#ifndef SPURIOUS
#define SPURIOUS 0      /* recoveries without a reason (a look at the ledger that misled) */
#endif
#ifndef CLOSES
#define CLOSES 0        /* participants that leave in good order */
#endif
#ifndef READERS
#define READERS 6       /* bit i: process i may read (default: 1 and 2) */
#endif
#ifndef WRITERS
#define WRITERS 5       /* bit i: process i may write (default: 0 and 2) */
#endif
#ifndef REPAIRERS
#define REPAIRERS 7     /* bit i: process i passes a repair callback */
#endif
#define ROUNDS (CRASHES + JOINS + SPURIOUS + TIMEOUTS + 2)   /* epochs that a run can need, asserted at R7 */

#define IDLE 0
#define WANT 1
#define QUEUED 2
#define INSIDE 3
#define LEAVING 4
#define NONE 15

/* ---- shared: header and ledger; the kernel's: semaphores by epoch, OFD bytes and gate (0 = free, else process + 1) ---- */
byte epoch;                        /* even = open, odd = recovery under way */
byte tag;  byte count;             /* the word `readers`, always accessed as one */
bit damaged;
byte phase[NS]; bit kind[NS];      /* kind is read only where phase is not IDLE; IDLE clears it here to spare states */
byte queue[ROUNDS]; byte room[ROUNDS]; /* semaphores "/name.E.queue" and "/name.E.room", E = 2 * index */
byte owner[NS]; byte gate;

/* ---- ghosts: what is true, for the assertions only ---- */
#define OUT 0
#define READING 1
#define WRITING 2
#define REPAIRING 3
byte does[NP];                     /* what process i does to the data right now */
byte ep[NP] = NONE;                /* the epoch that process i's entry belongs to (its local variable, here to see who still uses an epoch) */
bit dirty;                         /* someone died while writing, nobody repaired since */
byte crashes, joins, timeouts, spurious, closes;

#define ME (_pid - 1)              /* init is process 0 of spin */
#define E ep[ME]
#define can(mask) (((mask) >> ME) & 1)
#if NP == 2
#define others(x) (does[1 - ME] == x)
#define used(x) (ep[0] == x || ep[1] == x)
#else
#define others(x) ((ME != 0 && does[0] == x) || (ME != 1 && does[1] == x) || (ME != 2 && does[2] == x))
#define used(x) (ep[0] == x || ep[1] == x || ep[2] == x)
#endif
#define mine(i) (my == i)
#define deadslot(i) (!mine(i) && phase[i] != IDLE && owner[i] == 0)
#define held(i) (!mine(i) && owner[i] == ME + 1)
#if NS == 2
#define somebody_dead (deadslot(0) || deadslot(1))
#define all_idle (phase[0] == IDLE && phase[1] == IDLE)
#elif NS == 3
#define somebody_dead (deadslot(0) || deadslot(1) || deadslot(2))
#define all_idle (phase[0] == IDLE && phase[1] == IDLE && phase[2] == IDLE)
#else
#define somebody_dead (deadslot(0) || deadslot(1) || deadslot(2) || deadslot(3))
#define all_idle (phase[0] == IDLE && phase[1] == IDLE && phase[2] == IDLE && phase[3] == IDLE)
#endif
#ifdef MUT_ONE_NAME                /* all epochs use the same two semaphores */
#define Q(x) queue[0]
#define M(x) room[0]
#else
#define Q(x) queue[(x) >> 1]
#define M(x) room[(x) >> 1]
#endif
#ifdef MUT_NO_TAG                  /* `readers` is changed without looking at its epoch */
#define tag_moved false
#else
#define tag_moved (tag != E)
#endif
#if defined(MUT_ONE_NAME) || defined(MUT_POST_REPAIR)
#define POST(x) x = 1
#else
#define POST(x) assert(x == 0 || epoch != E); x = 1   /* in a living epoch no semaphore ever holds two tokens */
#endif
#define TAKE(x) x > 0 -> x--

/* Semaphores of an epoch that is over and that nobody uses any more are cleared, so that states differing only there are one. */
inline tidy(x) {
#ifdef MUT_ONE_NAME
  skip
#else
  if :: x != NONE && epoch > x && !used(x) -> queue[x >> 1] = 0; room[x >> 1] = 0 :: else fi
#endif
}
#define LEAVE_EPOCH k = E; E = NONE; tidy(k); k = 0
#define TO_IDLE_OF(i) phase[i] = IDLE; kind[i] = 0
#define TO_IDLE TO_IDLE_OF(my)
#define MOVED atomic { epoch != E -> goto back_off }
#define FREE_BYTES k = 0; do :: k == NS -> break :: k < NS -> if :: held(k) -> owner[k] = 0 :: else fi; k++ od; k = 0
#define DIE atomic { crashes < CRASHES -> goto die }   /* a goto from inside atomic to inside atomic is one step */
#define STEP(x) if :: atomic { if :: x fi } :: DIE fi
#define GIVE_UP timeouts < TIMEOUTS -> timeouts++

#define RE1 0
#define RE3 1
#define RE6 2
#define LEDGER 0
#define DAMAGE 1
#define NOTHING 2
#define REASON ((epoch & 1) || somebody_dead || why == NOTHING || (why == DAMAGE && damaged))
#define RECOVER(from, reason) ret = from; why = reason; goto R1

proctype participant() {
  byte my = ME;      /* own slot */
  byte s, k;         /* scans of the slots */
  bit w;             /* 1 = writer */
  bit noted;         /* J2 met the dead */
  bit visit;         /* 1 = got in only to find damaged data: leaves again without touching it */
  byte ret, why;     /* where RECOVER goes back to, and why it was begun */
  goto rest;

dead:
  if
  :: atomic { joins < JOINS -> joins++; goto J2 }
  :: goto end_gone
  fi;
end_gone: false;

J2:
#ifdef MUT_CLAIM_DEAD              /* takes a free byte without a look at what its last owner left */
  STEP(s == NS -> s = 0; goto dead
    :: s < NS && owner[s] != 0 -> s++; goto J2
    :: s < NS && owner[s] == 0 -> owner[s] = ME + 1; TO_IDLE_OF(s); my = s; s = 0; goto rest);
#endif
  STEP(s == NS -> s = 0; goto J3
    :: s < NS && phase[s] != IDLE -> noted = noted | (owner[s] == 0); s++; goto J2
    :: s < NS && phase[s] == IDLE -> skip);
  if
  :: atomic { owner[s] != 0 -> s++; goto J2 }
  :: atomic { owner[s] == 0 -> owner[s] = ME + 1 }
  fi;
  STEP(phase[s] == IDLE -> my = s; s = 0; noted = 0; goto rest
    :: phase[s] != IDLE -> owner[s] = 0; noted = 1; s++; goto J2);
J3: /* no slot is free and idle: under the gate, one of the dead's, left for whoever enters next to recover */
  STEP(!noted -> goto dead                                            /* EUSERS: may come again */
    :: noted && gate != 0 -> noted = 0; goto dead                     /* so does one that finds the gate taken for too long */
    :: noted && gate == 0 -> noted = 0; gate = ME + 1);
J3byte:
  STEP(s == NS -> s = 0; gate = 0; goto dead
    :: s < NS && owner[s] != 0 -> s++; goto J3byte
    :: s < NS && owner[s] == 0 -> owner[s] = ME + 1; my = s; s = 0);
  STEP(phase[my] == IDLE -> goto J3done :: phase[my] != IDLE -> skip);
#ifndef MUT_J3_OPEN                /* takes the dead one's place without closing the epoch */
  STEP(epoch & 1 -> skip :: !(epoch & 1) -> epoch++; tidy((epoch - 1)));
#endif
  STEP(true -> damaged = damaged | (phase[my] == INSIDE && kind[my]));
  STEP(true -> TO_IDLE);
J3done:
  STEP(true -> gate = 0; goto rest);

rest: /* IDLE, the slot is ours */
  atomic {
    if
    :: can(READERS) -> w = 0
    :: can(WRITERS) -> w = 1
    :: goto end_retired
    :: closes < CLOSES -> closes++; owner[my] = 0; my = NONE; goto dead
    fi
  };
  goto E1;
end_retired: false;

E1:
  STEP(epoch & 1 -> RECOVER(RE1, LEDGER) :: !(epoch & 1) -> E = epoch);
#ifdef MUT_LATE_WANT               /* published only once the queue is ours */
  goto E3;
#endif
  STEP(true -> kind[my] = w; phase[my] = WANT);
E2:
  if :: MOVED :: epoch == E :: DIE fi;

E3:
  if
  :: atomic { TAKE(Q(E)) }
  :: MOVED
  :: atomic { somebody_dead -> RECOVER(RE3, LEDGER) }
  :: atomic { spurious < SPURIOUS -> spurious++; RECOVER(RE3, NOTHING) }
#ifdef MUT_CANCEL_EARLY            /* IDLE while our waiter thread may still take the token and post it back */
  :: atomic { GIVE_UP; TO_IDLE }; if :: atomic { TAKE(Q(E)) }; STEP(true -> POST(Q(E))) :: true fi; atomic { goto stand_down }
#else
  :: atomic { GIVE_UP; goto stand_down }
#endif
  :: DIE
  fi;
E4:
  STEP(true -> POST(Q(E)); goto E3 :: true);
E5:
#ifdef MUT_LATE_WANT
  STEP(true -> kind[my] = w; phase[my] = QUEUED);
#else
  STEP(true -> phase[my] = QUEUED);
#endif
E6:
  STEP(w -> skip :: !w && tag_moved -> goto back_off :: !w && !tag_moved -> count++; if :: count == 1 :: else -> goto E7 fi);
E6room:
  if
  :: atomic { TAKE(M(E)) }
  :: MOVED
  :: atomic { somebody_dead -> RECOVER(RE6, LEDGER) }
  :: atomic { spurious < SPURIOUS -> spurious++; RECOVER(RE6, NOTHING) }
  :: atomic { GIVE_UP; goto U6 }
  :: DIE
  fi;
E7:
#ifdef MUT_E8_FIRST                /* looks at the epoch, then publishes INSIDE */
  if :: MOVED :: epoch == E :: DIE fi;
#endif
  STEP(true -> phase[my] = INSIDE);
E8:
  /* Where the epoch has not moved, the caller's function runs from here on. */
  if
#if defined(MUT_NO_E8) || defined(MUT_E8_FIRST)
  :: atomic { true ->
#else
  :: MOVED
  :: atomic { epoch == E ->
#endif
      assert(!others(WRITING) && !others(REPAIRING) && (!w || !others(READING)));
      assert(!dirty || damaged);
      does[ME] = 1 + w }
  :: DIE
  fi;
E9:
  STEP(w -> skip :: !w -> POST(Q(E)));
  /* Who can repair does not work on damaged data: it leaves again, L1 to L4, and recovers. */
  STEP(damaged && can(REPAIRERS) -> visit = 1; does[ME] = OUT
    :: else -> assert(!dirty || !can(REPAIRERS)));
#ifdef MUT_VISIT_KEEPS             /* leaves damaged data by dropping to IDLE, the tokens with it */
  STEP(visit -> TO_IDLE; LEAVE_EPOCH; visit = 0; RECOVER(RE1, DAMAGE) :: !visit);
#endif
L1:
#ifdef MUT_IDLE_FIRST              /* IDLE before the tokens are back */
  STEP(true -> does[ME] = OUT; TO_IDLE);
#else
  STEP(true -> does[ME] = OUT; phase[my] = LEAVING);
#endif
L2:
  STEP(w -> POST(M(E)); goto L3
    :: !w && tag_moved -> goto L4
    :: !w && !tag_moved -> assert(count > 0); count--; if :: count > 0 -> goto L4 :: else fi);
  STEP(true -> POST(M(E)); goto L4);
L3:
  STEP(true -> POST(Q(E)));
L4:
  STEP(true -> goto stand_down);

U6: /* undo of E6, then of E3 */
  STEP(w :: !w -> if :: tag_moved :: else -> assert(count > 0); count-- fi);
#ifndef MUT_UNDO_KEEPS             /* gives up without giving the queue back */
  STEP(true -> POST(Q(E)));
#endif
  STEP(true -> goto stand_down);

R1:
  if
  :: atomic { gate == 0 -> gate = ME + 1 }
  :: atomic { GIVE_UP; goto Rfail }
  :: DIE
  fi;
R2:
  STEP(REASON -> skip :: !REASON -> gate = 0; goto Rback);
#ifdef MUT_POST_REPAIR             /* the textbook wrong way: put back what the dead had taken */
  do
  :: s == NS -> s = 0; break
  :: atomic { s < NS -> if :: deadslot(s) -> if :: phase[s] != WANT -> POST(Q(epoch)) :: else fi; phase[s] = IDLE :: else fi; s++ }
  :: DIE
  od;
  goto Rdone;
#endif
R3:
#ifndef MUT_NO_R3                  /* the epoch moves only at R8 */
  STEP(epoch & 1 -> skip :: !(epoch & 1) -> epoch++; tidy((epoch - 1)));
#endif
R4:
  STEP(s == NS -> s = 0; goto R5
    :: s < NS && (mine(s) || phase[s] == IDLE) -> s++; goto R4
    :: s < NS && !mine(s) && phase[s] != IDLE -> skip);
R4byte:
  if
  :: atomic { owner[s] == 0 || owner[s] == ME + 1 -> owner[s] = ME + 1 }
  :: atomic { owner[s] != 0 && owner[s] != ME + 1 && phase[s] != INSIDE -> s++; goto R4 }
#ifdef MUT_NO_R4                   /* does not wait for who is inside */
  :: atomic { owner[s] != 0 && owner[s] != ME + 1 && phase[s] == INSIDE -> s++; goto R4 }
#else
  :: atomic { owner[s] != 0 && owner[s] != ME + 1 && phase[s] == INSIDE && timeouts < TIMEOUTS -> timeouts++; goto Rfail }
#endif
  :: DIE   /* a live one is INSIDE: the poll stays here until it leaves or dies */
  fi;
#ifdef MUT_FORGET_DAMAGE           /* a writer that died inside is wiped like any other */
  STEP(phase[s] == IDLE -> owner[s] = 0; s++; goto R4 :: phase[s] != IDLE -> s++; goto R4);
#else
  STEP(phase[s] == IDLE -> owner[s] = 0; s++; goto R4
    :: phase[s] != IDLE -> damaged = damaged | (phase[s] == INSIDE && kind[s]); s++; goto R4);
#endif
R5:
  STEP(damaged && can(REPAIRERS) -> assert(!others(READING) && !others(WRITING) && !others(REPAIRING)); does[ME] = REPAIRING
    :: else -> goto R6);
#ifdef MUT_EARLY_CLEAR             /* forgets the damage before it is repaired */
  STEP(true -> damaged = 0);
#endif
  if
  :: atomic { does[ME] = OUT; dirty = 0 }
  :: atomic { GIVE_UP; does[ME] = OUT; goto Rfail }   /* the callback throws */
  :: DIE
  fi;
  STEP(true -> damaged = 0);
R6: /* one store for each dead slot, all of them held since R4 */
  STEP(s == NS -> s = 0
    :: s < NS -> do :: s < NS && !(held(s) && phase[s] != IDLE) -> s++ :: else -> break od;
         if :: s < NS -> phase[s] = IDLE; kind[s] = 0 :: else fi; goto R6);
#ifdef MUT_NO_R3
R7:
  STEP(true -> Q((epoch | 1) + 1) = 1; M((epoch | 1) + 1) = 1);
R8:
  STEP(true -> tag = (epoch | 1) + 1; count = 0; epoch = (epoch | 1) + 1);
#else
R7:
  STEP(true -> assert((epoch + 1) >> 1 < ROUNDS); Q(epoch + 1) = 1);
  STEP(true -> M(epoch + 1) = 1);
  STEP(true -> tag = epoch + 1; count = 0);   /* R6, its last store */
R8:
  STEP(true -> epoch = epoch + 1);
#endif
R9: /* wakes who sleeps on the epoch that is over: as many tokens as there are others; they find that it has moved */
  STEP(E != NONE && E < epoch -> Q(E) = NP - 1; M(E) = NP - 1 :: !(E != NONE && E < epoch));
Rdone:
  STEP(true -> FREE_BYTES);
  STEP(true -> gate = 0);
Rback:
  atomic {
    why = LEDGER;
    if
    :: ret == RE1 -> goto E1
    :: ret == RE3 -> ret = RE1; goto E3
    :: ret == RE6 -> ret = RE1; goto E6room
    fi
  };
Rfail: /* own deadline passed, or the repair threw: what was taken is released, the epoch stays odd, the step we came from is undone */
  STEP(true -> s = 0; FREE_BYTES; if :: gate == ME + 1 -> gate = 0 :: else fi);
  STEP(true -> why = LEDGER;
    if
    :: ret == RE1 -> w = 0; goto rest
    :: ret == RE3 -> ret = RE1; goto stand_down
    :: ret == RE6 -> ret = RE1; goto U6
    fi)
;

/* Shared ends of many steps. */
  atomic { false; /* SIGKILL, and what the kernel does at once: OFD locks are gone, semaphores and memory stay as they are */
die:
    crashes++;
    if :: does[ME] == WRITING -> dirty = 1 :: else fi; does[ME] = OUT;
    if :: gate == ME + 1 -> gate = 0 :: else fi;
    if :: my != NONE -> owner[my] = 0; my = NONE :: else fi; FREE_BYTES; LEAVE_EPOCH;
    s = 0; w = 0; noted = 0; visit = 0; ret = RE1; why = LEDGER; goto dead
  };
  atomic { false; /* the epoch has moved: nothing of the old one is touched */
back_off:
    TO_IDLE; LEAVE_EPOCH; goto E1
  };
  atomic { false; /* this entry is over */
stand_down:
    TO_IDLE; LEAVE_EPOCH; if :: visit -> visit = 0; RECOVER(RE1, DAMAGE) :: else -> w = 0; goto rest fi
  }
}

/* Nobody is anywhere in the lock, living or dead: then both tokens are home, and nobody is counted. */
proctype whole_at_rest() {
end_whole:
#if defined(MUT_IDLE_FIRST) || defined(MUT_LATE_WANT) || defined(MUT_CANCEL_EARLY)   /* false at once there; shown instead: everybody hangs */
  false;
#endif
  atomic { all_idle && !(epoch & 1) && !(tag == epoch && count == 0 && Q(epoch) && M(epoch)) -> assert(false) }
}

init {
  byte k;
  atomic {
    queue[0] = 1; room[0] = 1;
    do :: k == NP -> break :: k < NP -> owner[k] = k + 1; run participant(); k++ od;
    k = 0; run whole_at_rest()
  }
}
