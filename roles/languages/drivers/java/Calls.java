package rewardranker;

/** What is made of the calls of one job. */
public interface Calls {
    int count();

    Object call(int index) throws Throwable;
}
