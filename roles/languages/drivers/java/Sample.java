package rewardranker;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Runs once, so that the classes most programs need are kept in an archive: calls that do what most programs do. */
public final class Sample implements Calls {
    @Override
    public int count() {
        return 4;
    }

    @Override
    public Object call(int index) {
        switch (index) {
            case 0:
                Map<String, Integer> counts = new HashMap<>();
                for (String word : Pattern.compile("\\s+").split("a b\tc a")) {
                    counts.merge(word, 1, Integer::sum);
                }
                return Arrays.asList(counts, new TreeMap<>(counts), new HashSet<>(counts.values()), 1.5, 'c', 7L, true);
            case 1:
                List<Integer> numbers = IntStream.range(0, 5).boxed().collect(Collectors.toList());
                return numbers.stream().sorted((a, b) -> b - a).map(n -> n + "\u00e9").collect(Collectors.joining(","));
            case 2:
                return new ArrayList<>(List.of(new int[] {1}, new Scanner("1 2").nextInt(), String.format("%.2f", 0.5)));
            default:
                throw new IllegalArgumentException("a program's exception");
        }
    }
}
