"""GEN: programs that nobody wrote. Each of these runs one that matrix/generated has drawn; its line judges many."""

from matrix.harness.scenario import OrmSetup, scenario


@scenario("GEN-1", "Random tasks, a connection for each", level="must", needs=("connection",))
async def own_connections(world, program):
    """Random tasks that share no connection, with transactions that begin with a write, get their own answers, and the
    database holds what was reported to them."""
    await program.on_connections(world)


@scenario("GEN-2", "Random tasks on one connection", level="loud", needs=("connection",))
async def one_connection(world, program):
    """Random tasks share one connection, and may be cancelled: what is reported to each is true, or it is refused and
    nobody is harmed."""
    await program.on_one_connection(world)


@scenario("GEN-3", "Random transactions as promised", level="must", needs=("tortoise",), orm=OrmSetup())
async def promised_transactions(world, program):
    """Random tasks with transactions of their own, nested blocks one after the other and gathered plain queries get
    their own answers, and the database holds what was reported to them."""
    await program.on_tortoise(world)


@scenario("GEN-4", "Random tasks inside transactions", level="loud", needs=("tortoise",), orm=OrmSetup())
async def tasks_inside_transactions(world, program):
    """Random tasks are started inside transactions, open their own, outlive them and are cancelled: what is reported to
    each is true, or it is refused and nobody is harmed."""
    await program.on_tortoise(world)


@scenario("GEN-5", "Random tasks on the driver's pool", level="loud", needs=("pool",))
async def on_the_pool(world, program):
    """Random tasks that share nothing but a pool, some of them cancelled, are all served; each gets its own answers,
    and the database holds what was reported to them."""
    await program.on_pool(world)


@scenario(
    "GEN-6",
    "Random TaskGroups, time limits and using_db",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(aliases=("default", "second")),
    python=(3, 11),
)
async def structured_tasks(world, program):
    """Random tasks use TaskGroups inside transactions and outside of them, time limits around them, and using_db: each
    gets its own answers, and the database holds what was reported to them."""
    await program.on_tortoise(world, second="second")


@scenario("GEN-7", "Random nested blocks that wait for tasks", level="loud", needs=("tortoise",), orm=OrmSetup())
async def waiting_inside_transactions(world, program):
    """Random tasks are started inside transactions and waited for inside nested blocks, also for tasks from before
    those: what is reported to each is true, or it is refused and nobody is harmed; nobody waits for ever."""
    await program.on_tortoise(world)
